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
from pydantic import ValidationError
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from models.blob_stores import stored
from models.database import Database
from models.housekeeping import DRAFT_SECONDS
from models.principal import DEFAULT_TENANT
from models.repositories import keys
from models.settings import NotPrivate, Settings, keep, private_folder
from models.storage import StorageFull, reported
from models.tables import Fact
from models.versions import FACT, OLDEST, OtherVersion, check, later

ROOT = Path(__file__).parent.parent
FIRST, NEXT = "first", "next"  # names of the keys that are made here
LOCK = 0x7261646969  # "radii": PostgreSQL's advisory lock, so that two starts at once migrate one after the other


class WrongSecretError(Exception):
    """The noise secret is not the one this database's certificates were made with: the same question would get
    another answer. Set RADII_NOISE_SECRET to the former one (DATA_DIR/noise-secret of the first installation)."""


def bootstrap(settings: Settings) -> None:
    """Make it so. Raises ``WrongSecretError``, ``NotPrivate`` and ``OtherVersion``."""
    private_folder(settings.data_dir)
    database = Database(settings.database)
    try:
        # The file lock is for SQLite, whose switch to WAL on the first connection ever does not wait for others.
        with locked(settings.data_dir / "bootstrap.lock"), database.write() as session:
            if database.engine.dialect.name == "postgresql":
                session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            if later(session.connection()):  # another version was here, which has migrated it
                check(session.connection())
            else:
                migrate(session.connection())
            keep_oldest(session)
            check_secret(session, settings)
            keep_key(session, settings)
        stored(settings).forget_drafts(older_than=DRAFT_SECONDS)
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


def keep_oldest(session: Session) -> None:
    """Have the database say which code it takes."""
    known = session.get(Fact, FACT)
    if known is None:
        session.add(Fact(name=FACT, value=OLDEST))
    else:
        known.value = max(known.value, OLDEST)


def check_secret(session: Session, settings: Settings) -> None:
    """Compare the secret with the fingerprint in the database; write that down the first time."""
    fingerprint = hashlib.sha256(b"radii noise secret" + settings.secret()).hexdigest()
    known = session.get(Fact, "noise-secret")
    if known is None:
        session.add(Fact(name="noise-secret", value=fingerprint))
    elif known.value != fingerprint:
        raise WrongSecretError(WrongSecretError.__doc__)


def keep_key(session: Session, settings: Settings) -> None:
    """See to it that DATA_DIR/api-key holds a key, and say so where that is not the one it was."""
    file, known = settings.key_file, [key for key in keys.valid(session, DEFAULT_TENANT) if key.name in (FIRST, NEXT)]
    missing = not file.exists()
    key = keys.add(session, DEFAULT_TENANT, NEXT if known else FIRST, keep(file, keys.fresh_text()))
    session.flush()
    if key.revoked_at is not None:
        say(f"the key in {file} ({key.id}) was revoked. For a new one delete the file and start again")
    elif missing and known:
        say(f"{file} was not there: a new key was made ({key.id}), which is in it now")
        for one in known:
            made = one.created_at.strftime("%Y-%m-%d %H:%M")
            say(f"the key {one.id} (of {made} UTC) is still valid; if it is lost: radii keys revoke {one.id}")


def say(message: str) -> None:
    """A line for the operator; ``radii up`` shows it on its console."""
    print(f"radii: {message}", flush=True)


if __name__ == "__main__":
    os.umask(0o077)
    try:
        with reported():
            bootstrap(Settings())
    except ValidationError as error:
        for one in error.errors():
            where = "".join(f"RADII_{part}: ".upper() for part in one["loc"][:1])
            print(f"radii: {where}{one['msg'].removeprefix('Value error, ')}", file=sys.stderr)
        sys.exit(2)
    except (WrongSecretError, NotPrivate, OtherVersion) as error:
        sys.exit(f"radii: {error}")
    except StorageFull as error:
        with suppress(OSError):  # the log may lie on the same disk: the exit status says it too
            print(f"radii: {error}", file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)
