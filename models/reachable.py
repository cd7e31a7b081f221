"""Whether database and broker answer, asked where something starts: one line says what is wrong, without the password.

A server that does not answer may be starting too, as after a reboot of everything: it is waited for. One that answers
and refuses (a password, a database that it does not have) is not.
"""

import re
import time
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from models import broker
from models.database import CONNECT_SECONDS, Database
from models.settings import Settings
from models.storage import reported

PATIENCE = 60.0  # seconds that a start waits for a server
PAUSE = 0.5  # seconds between two looks
MOST_TEXT = 300  # characters of what a driver said

Say = Callable[[str], None]


class Unreachable(ConnectionError):
    """The database or the broker can't be used; the message names which, why, and what to do."""


class Trouble(NamedTuple):
    """Why a server can't be used."""

    cause: str
    passing: bool  # it may be over in a moment


def await_database(settings: Settings, say: Say, patience: float = PATIENCE) -> None:
    """Return once the database answers. Raises ``Unreachable``; after ``patience`` seconds where that may help; and
    ``StorageFull``."""
    what = f"the database {without_password(settings.database)}"
    variable = "RADII_DATABASE_URL" if settings.database_url else "RADII_DATA_DIR"
    _wait(lambda: _database(settings.database), what, variable, say, patience)


def await_broker(settings: Settings, say: Say, patience: float = PATIENCE) -> None:
    """The same of the broker."""
    look = lambda: _broker(settings.broker)  # noqa: E731
    _wait(look, f"the broker {without_password(settings.broker)}", "RADII_BROKER_URL", say, patience)


def _wait(look: Callable[[], Trouble | None], what: str, variable: str, say: Say, patience: float) -> None:
    deadline, said = time.monotonic() + patience, False
    while (trouble := look()) is not None:
        if not trouble.passing:
            raise Unreachable(f"{what} can't be used: {trouble.cause}. Correct {variable}, or what it names.")
        if time.monotonic() >= deadline:
            waited = f" Waited for {patience:g} seconds." if patience else ""
            raise Unreachable(f"{what} does not answer: {trouble.cause}.{waited} Start it, or correct {variable}.")
        if not said:
            say(f"{what} does not answer: {trouble.cause}. Waiting up to {patience:g} seconds for it ({variable})")
        said = True
        time.sleep(PAUSE)


def _database(url: str) -> Trouble | None:
    try:
        with reported(), closing(Database(url)) as database:
            database.ping()
    except DBAPIError as error:
        return Trouble(one_line(error.orig or error), passing=_silent(url))
    except OSError as error:  # the folder of an SQLite file
        return Trouble(one_line(error), passing=False)
    return None


def _silent(url: str) -> bool:
    """Whether the server at ``url`` takes no connections, whosever they are."""
    if make_url(url).get_backend_name() != "postgresql":
        return False
    import psycopg

    with closing(Database(url)) as database:
        arguments = database.engine.dialect.create_connect_args(make_url(url))[1]
    given = {name: value for name, value in arguments.items() if name not in ("context", "password")}
    try:
        conninfo = psycopg.conninfo.make_conninfo(**{"connect_timeout": CONNECT_SECONDS} | given)
    except psycopg.ProgrammingError:  # an option that there is not
        return False
    ping = psycopg.pq.Ping
    return psycopg.pq.PGconn.ping(conninfo.encode()) in (ping.REJECT, ping.NO_RESPONSE)


def _broker(url: str) -> Trouble | None:
    try:
        broker.ask(url)
    except broker.Refused as error:
        return Trouble(one_line(error), passing=False)
    except broker.Away as error:
        return Trouble(one_line(error), passing=True)
    return None


def one_line(error: BaseException) -> str:
    """What a driver said, in one line."""
    text = str(error).partition("\nLINE ")[0]  # of a statement
    text = re.sub(r"Is the server running on .*?\?", "", text)  # what to do is said elsewhere
    text = " ".join(text.split()).removeprefix("connection failed: ").rstrip(".")
    return text[:MOST_TEXT] or type(error).__name__


def without_password(url: str) -> str:
    """``url`` for people: without user, password and options, each of which may be a secret."""
    if url.startswith("sqlite:"):
        return url
    servers = url.split(";") if url.startswith("sentinel:") else [url]
    return ";".join(re.sub("//.*@", "//", server).partition("?")[0] for server in servers)
