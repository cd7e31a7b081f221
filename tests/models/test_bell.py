import logging

import pytest

from models.bell import Bell, celery_app, celery_ring
from models.settings import Settings


def test_a_broker_that_is_down_costs_one_attempt_for_many_bells(caplog: pytest.LogCaptureFixture) -> None:
    ring = celery_ring(celery_app(Settings(broker_url="redis://127.0.0.1:1/0")))
    with caplog.at_level(logging.WARNING, logger="models.bell"):
        for number in range(1000):
            ring(Bell("shard", f"shd_{number}"))
    assert len(caplog.records) == 1
    assert "shd_0" in caplog.text
