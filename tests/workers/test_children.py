"""What children of workers import: no way to the database or the broker, and nothing that would keep them waiting."""

import subprocess
import sys

import pytest

from radii.methods import KINDS
from tests.workers.harness import ROOT

CHILDREN = {
    "runner": "workers.runner.__main__, workers.runner.compute, "
    + ", ".join(f"workers.methods.{kind}" for kind in KINDS),
    "fork server": "workers.intake.fork_server, workers.intake.read_model, workers.intake.read_dataset",
}


@pytest.mark.parametrize("modules", CHILDREN.values(), ids=CHILDREN)
def test_children_have_no_database_and_no_broker(modules: str) -> None:
    code = f"import sys, {modules}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    names = set(found.stdout.split())
    assert "torch" in names
    assert not names & {"sqlalchemy", "psycopg", "redis", "kombu", "celery", "fastapi", "pydantic_settings"}
