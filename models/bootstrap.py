"""What must be true before the service starts: ``python -m models.bootstrap``. Safe to run again, and at the same time.

The database is at the newest migration, there is an API key (in DATA_DIR/api-key, mode 0600), and the noise secret is
the one that this database's certificates were made with.
"""

import fcntl
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from models.blobs import Blobs
from models.database import Database
from models.repositories import keys
from models.settings import Settings, keep
from models.storage import StorageFull, reported
from models.tables import Fact

ROOT = Path(__file__).parent.parent
DRAFT_SECONDS = 86_400.0  # no upload and no intake takes a day
LOCK = 0x7261646969  # "radii": PostgreSQL's advisory lock, so that two starts at once migrate one after the other


class WrongSecretError(Exception):
    """The noise secret is not the one this database's certificates were made with: the same question would get
    another answer. Set RADII_NOISE_SECRET to the former one (DATA_DIR/noise-secret of the first installation)."""


def bootstrap(settings: Settings) -> None:
    """Make it so. Raises ``WrongSecretError``."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = Database(settings.database)
    try:
        # The file lock is for SQLite, whose switch to WAL on the first connection ever does not wait for others.
        with locked(settings.data_dir / "bootstrap.lock"), database.write() as session:
            if database.engine.dialect.name == "postgresql":
                session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            migrate(session.connection())
            check_secret(session, settings)
            keys.add(session, "first", keep(settings.key_file, keys.fresh_text()))
        Blobs(settings.blob_dir).forget_drafts(older_than=DRAFT_SECONDS)
    finally:
        database.close()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path``; the system drops it when the process ends, however it ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def migrate(connection: Connection, revision: str = "head") -> None:
    """Bring the database to ``revision``."""
    config = Config(toml_file=ROOT / "pyproject.toml")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def migrated(connection: Connection) -> bool:
    """Whether the database is at the newest revision."""
    newest = ScriptDirectory.from_config(Config(toml_file=ROOT / "pyproject.toml")).get_heads()
    return set(MigrationContext.configure(connection).get_current_heads()) == set(newest)


def check_secret(session: Session, settings: Settings) -> None:
    """Compare the secret with the fingerprint in the database; write that down the first time."""
    fingerprint = hashlib.sha256(b"radii noise secret" + settings.secret()).hexdigest()
    known = session.get(Fact, "noise-secret")
    if known is None:
        session.add(Fact(name="noise-secret", value=fingerprint))
    elif known.value != fingerprint:
        raise WrongSecretError(WrongSecretError.__doc__)


if __name__ == "__main__":
    try:
        with reported():
            bootstrap(Settings())
    except WrongSecretError as error:
        sys.exit(f"radii: {error}")
    except StorageFull as error:
        with suppress(OSError):  # the log may lie on the same disk: the exit status says it too
            print(f"radii: {error}", file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)
