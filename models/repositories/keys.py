"""API keys: issued once, kept as a digest."""

import hashlib
import secrets

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.ids import KEY, new_id
from models.tables import Key


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def add(session: Session, name: str, text: str) -> Key:
    """Make ``text`` a valid key called ``name``; the same text twice is one key."""
    found = session.scalar(select(Key).where(Key.sha256 == _digest(text)))
    if found:
        return found
    key = Key(id=new_id(KEY), name=name, sha256=_digest(text))
    session.add(key)
    return key


def fresh_text() -> str:
    """The text of a new key: ``radii_`` and 43 characters of 256 random bits."""
    return f"radii_{secrets.token_urlsafe(32)}"


def authenticate(session: Session, text: str) -> Key | None:
    """The valid key whose text this is."""
    return session.scalar(select(Key).where(Key.sha256 == _digest(text), Key.revoked_at.is_(None)))
