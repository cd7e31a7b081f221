"""Servers that are away, that come later, and that refuse: on real ones."""

import secrets
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from models.blobs import MARK
from models.bootstrap import bootstrap, join
from models.broker import Away, ask
from models.installation import OtherStore
from models.reachable import Unreachable, await_broker, await_database
from models.settings import Settings
from models.versions import OtherVersion
from tests.chaos.servers import Postgres, Redis, server

PASSWORD = "geheim"


@pytest.fixture(scope="module")
def own() -> Iterator[tuple[Postgres, Redis]]:
    """A PostgreSQL and a Redis that may be killed."""
    with server(Postgres) as postgres, server(Redis) as redis:
        yield postgres, redis


def refused(settings: Settings, *, broker: bool = False) -> str:
    """What is said of a server that is not worth waiting for, or isn't waited for."""
    waited: list[str] = []
    with pytest.raises(Unreachable) as error:
        (await_broker if broker else await_database)(settings, waited.append, patience=0)
    assert waited == []
    said = str(error.value)
    assert PASSWORD not in said and "\n" not in said
    assert ("RADII_BROKER_URL" if broker else "RADII_DATABASE_URL") in said
    return said


@pytest.mark.parametrize(
    ("user", "database", "cause"),
    [
        ("nobody-here", "postgres", 'role "nobody-here" does not exist'),
        ("postgres", "not-there", 'database "not-there" does not exist'),
        ("postgres", "postgres?sslmod=off", 'invalid connection option "sslmod"'),
    ],
)
def test_a_database_that_refuses_is_not_waited_for(
    own: tuple[Postgres, Redis], user: str, database: str, cause: str
) -> None:
    url = f"postgresql+psycopg://{user}:{PASSWORD}@127.0.0.1:{own[0].port}/{database}"
    said = refused(Settings(database_url=url))
    assert f"{own[0].port}/{database.partition('?')[0]} can't be used: " in said and cause in said


def test_a_database_that_is_away_is_named_with_the_cause() -> None:
    said = refused(Settings(database_url=f"postgresql+psycopg://u:{PASSWORD}@127.0.0.1:1/x"))
    assert said.startswith("the database postgresql+psycopg://127.0.0.1:1/x does not answer: ")
    assert "Connection refused. Start it, or correct RADII_DATABASE_URL" in said


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no database, but some text that is long enough" * 30)
    assert "file is not a database" in refused(Settings(database_url=f"sqlite:///{tmp_path / 'file'}"))
    assert "Not a directory" in refused(Settings(database_url=f"sqlite:///{tmp_path / 'file' / 'x' / 'y'}"))


def test_what_comes_later_is_waited_for(own: tuple[Postgres, Redis], tmp_path: Path) -> None:
    """What is said starts the server: so it was said before it was there, and once."""
    postgres, redis = own
    settings = Settings(
        data_dir=tmp_path / "data",
        database_url=postgres.database("later"),
        broker_url=f"redis://:{PASSWORD}@127.0.0.1:1/0",
    )
    said: list[str] = []
    postgres.kill()

    def started(line: str) -> None:
        said.append(line)
        postgres.start()

    await_database(settings, started)
    redis.kill()

    def back(line: str) -> None:
        said.append(line)
        redis.start()

    await_broker(settings.model_copy(update={"broker_url": redis.url}), back)
    assert [line.split(" does not answer: ")[0] for line in said] == [
        f"the database {settings.database.replace('postgres@', '')}",
        f"the broker {redis.url}",
    ]
    assert all("Waiting up to 60 seconds for it (RADII_" in line for line in said)
    assert "Connection refused" in refused(
        settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"}), broker=True
    )


def test_a_worker_joins_only_what_fits(own: tuple[Postgres, Redis], tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", database_url=own[0].database("joined"))
    with pytest.raises(OtherVersion, match=r"run python -m models\.bootstrap"):
        join(settings, print)
    bootstrap(settings)
    join(settings, print)
    other = Settings(data_dir=tmp_path / "other", database_url=settings.database_url)
    with pytest.raises(ValueError, match="noise secret is not the one"):
        join(other, print)
    shutil.copy(settings.data_dir / "noise-secret", other.data_dir)
    with pytest.raises(OtherStore, match=r"/other/blobs has no mark, .* RADII_BLOB_URL"):
        join(other, print)  # though there is no file yet
    assert not (other.blob_dir / MARK).exists()


def test_a_user_who_may_make_no_tables_is_told(postgresql_server: str, empty_database_url: str, tmp_path: Path) -> None:
    if not empty_database_url.startswith("postgresql"):
        pytest.skip("SQLite has no users")
    user = f"radii_test_{secrets.token_hex(4)}"
    server = create_engine(empty_database_url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE ROLE {user} LOGIN"))
        connection.execute(text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
    try:
        url = make_url(empty_database_url).set(username=user).render_as_string(hide_password=False)
        with pytest.raises(
            Unreachable, match=r"permission denied for schema public\. Give.* \(ALTER DATABASE name OWNER TO user\)"
        ):
            bootstrap(Settings(data_dir=tmp_path / "data", database_url=url))
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP ROLE {user}"))
        server.dispose()


def test_a_redis_that_wants_a_password(own: tuple[Postgres, Redis]) -> None:
    _, redis = own
    with redis.client() as client:
        client.config_set("requirepass", "another")
        assert "Authentication required" in refused(Settings(broker_url=redis.url), broker=True)
        wrong = redis.url.replace("//", f"//:{PASSWORD}@")
        assert "invalid username-password pair" in refused(Settings(broker_url=wrong), broker=True)
    redis.kill()
    redis.start()


def test_a_rabbitmq_that_refuses(rabbitmq: str) -> None:
    ask(rabbitmq)
    assert "vhost nowhere not found" in refused(
        Settings(broker_url=rabbitmq.rpartition("/")[0] + "/nowhere"), broker=True
    )
    wrong = f"amqp://guest:{PASSWORD}@{rabbitmq.partition('@')[2]}"
    assert "ACCESS_REFUSED - Login was refused" in refused(Settings(broker_url=wrong), broker=True)


def test_a_frozen_redis_is_away(own: tuple[Postgres, Redis]) -> None:
    """It still takes connections, and answers nothing: behind Sentinels too."""
    _, redis = own
    redis.process.send_signal(signal.SIGSTOP)
    try:
        for url in (redis.url, redis.url.replace("redis:", "sentinel:")):
            with pytest.raises(Away, match=r"^(Timeout reading from socket|No master found for 'mymaster')$"):
                ask(url)
    finally:
        redis.process.send_signal(signal.SIGCONT)
    ask(redis.url)
