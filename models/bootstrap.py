"""What must be true before the service starts: ``python -m models.bootstrap``. Safe to run again, and at the same time.

The database is at the newest migration, there is an API key (in DATA_DIR/api-key, mode 0600), and the noise secret is
the one that this database's certificates were made with; the blob store is the database's, and marked so.
"""

import fcntl
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from models.blob_stores import stored
from models.blobs import Blobs, BlobsAway
from models.database import Database
from models.housekeeping import DRAFT_SECONDS
from models.installation import OtherStore, confirm
from models.principal import DEFAULT_TENANT
from models.reachable import Say, Unreachable, await_database, one_line
from models.repositories import keys
from models.settings import NotPrivate, Settings, from_environment, keep, private_folder
from models.storage import StorageFull, reported
from models.tables import Fact
from models.versions import FACT, OLDEST, OtherVersion, check, later

ROOT = Path(__file__).parent.parent
FIRST, NEXT = "first", "next"  # names of the keys that are made here
KEY_TEXT = re.compile(r"[A-Za-z0-9_-]{32,200}")
INSUFFICIENT_PRIVILEGE = "42501"
LOCK = 0x7261646969  # "radii": PostgreSQL's advisory lock, so that two starts at once migrate one after the other


class WrongSecretError(ValueError):
    """The noise secret is not the one this database's certificates were made with: the same question would get
    another answer. Set RADII_NOISE_SECRET to the former one (DATA_DIR/noise-secret of the first installation)."""


class BadKeyFile(Exception):
    """RADII_FIRST_KEY_FILE names a file that can't be read, or that holds no key; the message says which."""


def bootstrap(settings: Settings) -> None:
    """Make it so, once the database answers. Raises ``WrongSecretError``, ``NotPrivate``, ``BadKeyFile``,
    ``OtherVersion``, ``OtherStore`` and ``Unreachable``."""
    private_folder(settings.data_dir)
    await_database(settings, say)
    database = Database(settings.database)
    try:
        # The file lock is for SQLite, whose switch to WAL on the first connection ever does not wait for others.
        with locked(settings.data_dir / "bootstrap.lock"), database.write() as session:
            if database.engine.dialect.name == "postgresql":
                session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            if later(session.connection()):  # another version was here, which has migrated it
                check(session.connection())
            else:
                with _may_make_tables():
                    migrate(session.connection())
            keep_oldest(session)
            check_secret(session, settings)
            keep_key(session, settings)
        blobs = stored(settings)
        blobs.forget_drafts(older_than=DRAFT_SECONDS)
        _confirm(database, blobs, say, first=True)
    finally:
        database.close()


def join(settings: Settings, say: Say) -> None:
    """For workers, which change nothing: once the database answers, see to it that this code, this noise secret and
    this blob store are its own. Raises ``Unreachable``, ``OtherVersion``, ``WrongSecretError`` and ``OtherStore``."""
    await_database(settings, say)
    database = Database(settings.database)
    try:
        with database.write() as session:
            check(session.connection())
            check_secret(session, settings)
        _confirm(database, stored(settings), say)
    finally:
        database.close()


def _confirm(database: Database, blobs: Blobs, say: Say, *, first: bool = False) -> None:
    try:
        confirm(database, blobs, first=first)
    except OtherStore:
        raise
    except BlobsAway as away:
        say(f"{away}; whose it is will be looked at later")


@contextmanager
def _may_make_tables() -> Iterator[None]:
    try:
        yield
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != INSUFFICIENT_PRIVILEGE:
            raise
        said = one_line(error.orig or error)
        remedy = "Give the database to that user (ALTER DATABASE name OWNER TO user), or name one that may"
        raise Unreachable(
            f"the database lets its user make no tables: {said}. {remedy} in RADII_DATABASE_URL"
        ) from None


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
        raise WrongSecretError(" ".join(str(WrongSecretError.__doc__).split()))


def keep_key(session: Session, settings: Settings) -> None:
    """See to it that there is a key, and say so where that is not the one it was. Its text is in DATA_DIR/api-key, or
    in the file that RADII_FIRST_KEY_FILE names. Raises ``BadKeyFile``."""
    if settings.first_key_file is not None:
        _take_key(session, settings.first_key_file)
        return
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


def _take_key(session: Session, file: Path) -> None:
    """Make the text in ``file`` a valid key. One that was there before stays valid: whoever changes the file may go on
    with both until the old one is revoked."""
    try:
        text = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadKeyFile(f"RADII_FIRST_KEY_FILE: can't read {file}: {error}") from None
    if not KEY_TEXT.fullmatch(text):
        raise BadKeyFile(
            f"RADII_FIRST_KEY_FILE: {file} holds no key; write one there that nobody can guess, of 32 to 200 letters, "
            "digits, - and _: openssl rand -hex 32"
        )
    others = [key for key in keys.valid(session, DEFAULT_TENANT) if key.name in (FIRST, NEXT)]
    key = keys.add(session, DEFAULT_TENANT, NEXT if others else FIRST, text)
    session.flush()
    if key.revoked_at is not None:
        say(f"the key in {file} ({key.id}) was revoked. For a new one write another text there and start again")
    elif others and key not in others:
        for one in others:
            say(f"{file} holds a new key ({key.id}); {one.id} is still valid: radii keys revoke {one.id}")


def say(message: str) -> None:
    """A line for the operator; ``radii up`` shows it on its console."""
    print(f"radii: {message}", flush=True)


if __name__ == "__main__":
    os.umask(0o077)
    try:
        with reported():
            bootstrap(from_environment())
    except (WrongSecretError, NotPrivate, BadKeyFile, OtherVersion, OtherStore, Unreachable) as error:
        sys.exit(f"radii: {error}")
    except StorageFull as error:
        with suppress(OSError):  # the log may lie on the same disk: the exit status says it too
            print(f"radii: {error}", file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)
