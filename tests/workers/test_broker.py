"""A Redis outside that refuses every write, as one does whose disk is full: nothing ends, nothing is lost."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from models.states import JobState
from models.tables import Certification
from tests.workers.answers import done, said, truth
from tests.workers.harness import Service, wait_for

SMALL: dict[str, Any] = {"kind": "smoothing", "sigma": 0.25, "n": 2500}


@contextmanager
def refusing(broker: redis.Redis) -> Iterator[None]:
    """Every write, and PING, is answered with MISCONF: a snapshot failed, since a folder has the name of its file."""
    taken = Path(str(broker.config_get("dir")["dir"])) / str(broker.config_get("dbfilename")["dbfilename"])
    taken.mkdir()
    broker.config_set("save", "3600 1")
    broker.bgsave()
    try:
        wait_for(lambda: broker.info("persistence")["rdb_last_bgsave_status"] == "err")
        with pytest.raises(redis.exceptions.ResponseError, match="MISCONF"):
            broker.set("a", "b")
        yield
    finally:
        broker.config_set("save", "")
        taken.rmdir()


def refused(broker: redis.Redis) -> int:
    """How many commands were answered so."""
    return int(broker.info("errorstats").get("errorstat_MISCONF", {}).get("count", 0))


@pytest.mark.parametrize("empty_database_url", ["sqlite"], indirect=True)  # the same on both
def test_a_redis_that_refuses_writes_ends_no_worker_and_loses_no_job(service: Service, digits: tuple[str, str]) -> None:
    with refusing(service.broker):
        first = service.certify(*digits, 1, **SMALL)  # its row is stored; nobody hears its bell
        before = refused(service.broker)
        worker = service.start()
        wait_for(lambda: refused(service.broker) > before)
    done(service, first)
    assert said(service, first) == truth(1, SMALL["n"])

    family = service.family()
    with refusing(service.broker):
        before = refused(service.broker)
        second = service.certify(*digits, 2, kind="smoothing", sigma=0.5, n=2500)
        wait_for(lambda: refused(service.broker) > before + 1)
        assert service.get(Certification, second).state is JobState.QUEUED
    done(service, second)
    assert worker.poll() is None
    assert family <= service.family()
