"""Commands whose database or broker is away: one line, no traceback, no password, and the exit code of a command."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.service import PATIENCE, clean_environment

AWAY, WRONG = "postgresql+psycopg://u:geheim@127.0.0.1:1/x", "postgresql+psycopg://u:ge@heim@127.0.0.1/x"
COMMANDS = (["-m", "radii.cli", "up", "--port", "0"], ["-m", "radii.cli", "worker"], ["-m", "radii.cli", "gc"])
PROCESSES = (
    ["-m", "models.bootstrap"],
    ["-m", "celery", "-A", "workers.main", "worker"],
    ["-c", "import app.main; app.main.create_app()"],
)


def ended(command: list[str], folder: Path, **variables: str) -> tuple[int, str]:
    """The exit code of a command that ends by itself, and its only line."""
    environment = {**clean_environment(), "RADII_DATA_DIR": str(folder / "data"), "COLUMNS": "80", **variables}
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=PATIENCE)
    said = done.stdout + done.stderr
    assert "Traceback" not in said and "heim" not in said
    assert len(said.splitlines()) == 1, said
    return done.returncode, said


@pytest.mark.parametrize("command", [*COMMANDS, *PROCESSES], ids=lambda command: " ".join(command[1:]))
def test_a_url_that_can_not_be_right(command: list[str], tmp_path: Path) -> None:
    code, said = ended(command, tmp_path, RADII_DATABASE_URL=WRONG, RADII_BROKER_URL="redis://127.0.0.1:1/0")
    assert code == 2
    assert "RADII_DATABASE_URL" in said and "there are two @ in it" in said
    code, said = ended(command, tmp_path, RADII_BROKER_URL="redis://:ge/heim@127.0.0.1/0")
    assert code == 2
    assert "RADII_BROKER_URL" in said and "the port is no number" in said


def test_gc_waits_for_nobody(tmp_path: Path) -> None:
    code, said = ended(COMMANDS[2], tmp_path, RADII_DATABASE_URL=AWAY)
    assert code == 1
    assert said.startswith("error: the database postgresql+psycopg://127.0.0.1:1/x does not answer: ")


@pytest.mark.parametrize("command", COMMANDS[:2], ids=" ".join)
def test_a_server_that_refuses_ends_the_start_at_once(
    command: list[str], tmp_path: Path, postgresql_server: str
) -> None:
    nowhere = postgresql_server.rpartition("/")[0] + "/not-there"
    broker = {"RADII_BROKER_URL": "redis://127.0.0.1:1/0"}
    code, said = ended(command, tmp_path, RADII_DATABASE_URL=nowhere, **broker)
    assert code == 1
    assert 'database "not-there" does not exist. Correct RADII_DATABASE_URL, or what it names.' in said
