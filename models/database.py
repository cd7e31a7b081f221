"""The database: engine, transactions, and bells that ring after commit."""

import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from models import storage
from models.base import Base
from models.bell import Bell, Ring, silent
from models.news import Tell, untold
from models.principal import Principal
from models.tenant_session import TenantSession
from models.tracing import traceparent

S = TypeVar("S", bound=Session)
V = TypeVar("V")

CONNECT_SECONDS = 5  # that a server may take to let us in; one behind a firewall that drops packets would take minutes
BELLS, NEWS = "bells", "news"
SQLITE_AWAY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
# Connections lost or refused, too many of them, shutting down or starting, and transactions that stood in one another's
# way.
POSTGRESQL_AWAY = ("08", "40", "53", "57P")
NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")  # not behind an odd number of backslashes


class Database:
    """Sessions on one database. The unit of work commits at the edge: code inside a session never commits.

    ``read`` and ``write`` are of the system, for workers, who serve every tenant; ``read_as`` and ``write_as`` of one
    tenant, for requests, which have no others (``app.database``).
    """

    def __init__(self, url: str, *, ring: Ring = silent, tell: Tell = untold) -> None:
        self.ring, self.tell = ring, tell
        where = make_url(url)
        bound = where.get_backend_name() == "postgresql" and "connect_timeout" not in where.query
        options = {"connect_timeout": CONNECT_SECONDS} if bound else {}
        self.engine = create_engine(where, pool_pre_ping=True, json_serializer=json_text, connect_args=options)
        if self.engine.dialect.name == "sqlite":
            _tame_sqlite(self.engine)
        # SQLite takes its write lock at BEGIN: one that upgrades from a read later may fail instead of waiting.
        self._writer = self.engine.execution_options(radii_writes=True)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading one consistent state. Raises ``StorageFull``: sorting, too, may need the disk."""
        with storage.reported(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read_as(self, principal: Principal) -> Iterator[TenantSession]:
        """As ``read``, of the rows of the principal's tenant."""
        with storage.reported(), TenantSession(principal, self.engine) as session, session.begin():
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that commits at the end of the block, or not at all; its bells ring after the commit, and
        its news are told then.

        Raises ``StorageFull``.
        """
        with self._committed(Session(self._writer, expire_on_commit=False)) as session:
            yield session

    @contextmanager
    def write_as(self, principal: Principal) -> Iterator[TenantSession]:
        """As ``write``, of the rows of the principal's tenant."""
        with self._committed(TenantSession(principal, self._writer)) as session:
            yield session

    @contextmanager
    def _committed(self, opened: S) -> Iterator[S]:
        with storage.reported(), opened as session:
            with session.begin():
                yield session
            bells, news = session.info.pop(BELLS, []), session.info.pop(NEWS, [])
        for bell in bells:
            self.ring(bell)
        for row_id in news:
            self.tell(row_id)

    def ping(self) -> None:
        """Raises if the database can't be reached."""
        with self.engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def away(error: DBAPIError) -> bool:
    """Whether an error says that the database can't be reached, or has no time now: the same call may succeed later."""
    cause = error.orig
    if (code := getattr(cause, "sqlite_errorcode", None)) is not None:
        return code & 0xFF in SQLITE_AWAY  # the rest of it is detail
    state = getattr(cause, "sqlstate", None)
    if error.connection_invalidated or (state is None and isinstance(error, OperationalError | InterfaceError)):
        return True
    return state is not None and state.startswith(POSTGRESQL_AWAY)


def json_text(value: object) -> str:
    """JSON without NUL, which PostgreSQL refuses in text: what is named in an uploaded file may hold one."""
    return NUL.sub(r"\1\\ufffd", json.dumps(value))


def insert(session: Session, table: type[Base]) -> Any:
    """An INSERT that may say what becomes of a row that is there already: both databases spell ON CONFLICT alike, which
    SQLAlchemy has once for each."""
    return (postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert)(table)


def parts(values: Sequence[V], size: int = 500) -> Iterator[Sequence[V]]:
    """``values``, as many at a time as a statement bears."""
    return (values[start : start + size] for start in range(0, len(values), size))


def ring_after_commit(session: Session, bell: Bell) -> None:
    """Ring ``bell`` once the transaction of ``session`` has committed; never if it rolls back."""
    session.info.setdefault(BELLS, []).append(bell._replace(traceparent=traceparent()))


def tell_after_commit(session: Session, row_id: str) -> None:
    """Tell whoever waits for it, once the transaction of ``session`` has committed, that a row has ended."""
    session.info.setdefault(NEWS, []).append(row_id)


def _tame_sqlite(engine: Engine) -> None:
    """WAL (readers never wait for a writer), waiting instead of failing on a lock, foreign keys, explicit BEGIN."""
    if engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("radii_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
