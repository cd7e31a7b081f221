"""A backup as docs/operations.md describes it, restored elsewhere: jobs go on there, with the same votes."""

import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, make_url, select

from models.bootstrap import bootstrap
from models.database import Database
from models.housekeeping import foreseen
from models.settings import Settings
from models.tables import Certification, Chunk, Ledger
from tests.service import own_database
from tests.workers.answers import done, results, truth
from tests.workers.harness import EXAMPLES, Service, installation

N = 20_000


@pytest.fixture
def database_url(empty_database_url: str, tmp_path: Path) -> str:
    """A database that migrations made, as a real one: a backup has the migration's number in it."""
    database = Database(empty_database_url)
    database.close()
    bootstrap(Settings(data_dir=tmp_path / "data", database_url=empty_database_url, noise_secret="5e" * 32))
    return empty_database_url


def back_up(url: str, folder: Path) -> None:
    """The database, while it is in use."""
    if url.startswith("sqlite"):
        file = make_url(url).database or ""
        with closing(sqlite3.connect(file)) as live, closing(sqlite3.connect(folder / "radii.sqlite")) as copy:
            live.backup(copy)
    else:
        plain = url.replace("postgresql+psycopg:", "postgresql:")
        subprocess.run(["pg_dump", "-Fc", "-f", str(folder / "radii.dump"), plain], check=True)


@contextmanager
def restored(request: pytest.FixtureRequest, url: str, backup: Path, data_dir: Path) -> Iterator[str]:
    """URL of a new database that holds the backup."""
    if url.startswith("sqlite"):
        shutil.copy(backup / "radii.sqlite", data_dir / "radii.sqlite")
        yield f"sqlite:///{data_dir / 'radii.sqlite'}"
        return
    with own_database(request.getfixturevalue("postgresql_server")) as new:
        plain = new.replace("postgresql+psycopg:", "postgresql:")
        restore = ["pg_restore", "--no-owner", "--exit-on-error", "-d", plain, str(backup / "radii.dump")]
        subprocess.run(restore, check=True)
        yield new


def votes(service: Service, job: str) -> list[tuple[object, ...]]:
    """As ``answers.said``, of a certification some of whose answers may come from another one."""
    row = service.get(Certification, job)
    assert (row.state, row.done) == ("succeeded", row.total), row.problem
    rows = results(service, job)
    return [(r.prediction, r.radius, r.detail["pilot_counts"], r.detail["counts"]) for r in rows]


def test_a_restored_backup_goes_on_and_answers_the_same(
    request: pytest.FixtureRequest, service: Service, redis_socket: Path, tmp_path: Path
) -> None:
    digits = service.known_model(EXAMPLES / "digits.onnx"), service.known_dataset(EXAMPLES / "digits.npz")
    service.start()
    ended = service.certify(*digits, 1, kind="smoothing", sigma=0.25, n=N)
    done(service, ended)
    running = service.certify(*digits, 3, kind="smoothing", sigma=0.25, n=N)
    service.wait(Certification, running, "running")
    backup, elsewhere = tmp_path / "backup", tmp_path / "elsewhere"
    for folder in (backup, elsewhere):
        folder.mkdir(mode=0o700)
    back_up(service.settings.database, backup)  # first, so that every blob it names is among those copied after it
    shutil.copytree(service.settings.blob_dir, backup / "blobs", ignore=shutil.ignore_patterns("drafts"))
    service.close()
    shutil.rmtree(service.settings.data_dir / "blobs")  # the first installation is lost

    shutil.copytree(backup / "blobs", elsewhere / "blobs")
    with restored(request, service.settings.database, backup, elsewhere) as url:
        bootstrap(service.settings.model_copy(update={"data_dir": elsewhere, "database_url": url}))
        with installation(elsewhere, url, redis_socket) as again:
            with again.database.read() as session:
                counted = session.scalar(select(func.count()).select_from(Ledger))
            assert counted  # what was asked before is known
            again.start()
            done(again, running)
            assert votes(again, running) == truth(3, N)
            assert votes(again, ended) == truth(1, N)
            asked_again = again.certify(*digits, 1, kind="smoothing", sigma=0.25, n=N)
            done(again, asked_again)
            assert votes(again, asked_again) == truth(1, N)
            row = again.get(Certification, asked_again)
            assert row.execution is None  # answered, not computed
            with again.database.read() as session:
                assert session.scalar(select(func.count()).select_from(Chunk)) == 0
            assert foreseen(again.database, again.blobs, None).rows == {}
