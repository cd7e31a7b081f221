"""Fixtures that more than one folder of tests needs: real databases, settings, a blob store."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from models.base import Base
from models.bell import Bell
from models.blobs import Blobs
from models.database import Database
from models.settings import Settings
from models.tables import Certification  # noqa: F401 (registers all tables)
from tests.disk import disk  # noqa: F401 (a fixture)
from tests.rabbitmq import rabbitmq  # noqa: F401 (a fixture)
from tests.s3 import bucket, s3_server  # noqa: F401 (fixtures)
from tests.service import own_database, service  # noqa: F401 (the last is a fixture)

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # of onnxruntime, before any test imports it

# Started in the background of a shell, this process and all that it starts would ignore Ctrl-C, which tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)

POSTGRESQL = os.environ.get("RADII_TEST_POSTGRESQL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")


def missing(what: str) -> None:
    """Skip the test for want of ``what``, or fail it where services are required (CI)."""
    if os.environ.get("RADII_TEST_REQUIRE_SERVICES"):
        pytest.fail(f"{what} is required here and can't be reached")
    pytest.skip(f"no {what}; set RADII_TEST_POSTGRESQL to a URL whose user may create databases")


@pytest.fixture(scope="session")
def postgresql_server() -> str:
    """URL of a PostgreSQL database whose user may create others."""
    engine = create_engine(POSTGRESQL)
    try:
        engine.connect().close()
    except OperationalError:
        missing("PostgreSQL")
    finally:
        engine.dispose()
    return POSTGRESQL


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database of its own, without tables; the test runs once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'radii.sqlite'}"
        return
    with own_database(request.getfixturevalue("postgresql_server")) as url:
        yield url


@pytest.fixture
def database_url(empty_database_url: str) -> str:
    """URL of a database with all tables."""
    database = Database(empty_database_url)
    Base.metadata.create_all(database.engine)
    database.close()
    return empty_database_url


@pytest.fixture
def bells() -> list[Bell]:
    """What was rung, instead of messages."""
    return []


@pytest.fixture
def database(database_url: str, bells: list[Bell]) -> Iterator[Database]:
    """A database with all tables, whose bells land in ``bells``."""
    database = Database(database_url, ring=bells.append)
    yield database
    database.close()


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """Settings of an installation in a folder of its own."""
    return Settings(data_dir=tmp_path / "data", database_url=database_url)


@pytest.fixture
def blobs(settings: Settings) -> Blobs:
    """The blob store of ``settings``."""
    return Blobs(settings.blob_dir)
