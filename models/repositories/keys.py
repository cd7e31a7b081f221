"""API keys: issued once, kept as a digest, valid until they are revoked."""

import hashlib
import secrets
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.base import now
from models.ids import KEY, new_id
from models.tables import Key


class LastKey(Exception):
    """It is the last valid key: without it nobody could make another. Nothing was revoked."""


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


def valid(session: Session, *, lock: bool = False) -> Sequence[Key]:
    """The valid keys, oldest first; ``lock`` keeps them from changing until the transaction ends."""
    query = select(Key).where(Key.revoked_at.is_(None)).order_by(Key.id)
    return session.scalars(query.with_for_update() if lock else query).all()


def revoke(session: Session, key_id: str) -> Key | None:
    """The key of that id, revoked now or before; None if there is none. Raises ``LastKey``."""
    living = valid(session, lock=True)
    key = session.get(Key, key_id)
    if key is not None and key in living:
        if len(living) == 1:
            raise LastKey
        key.revoked_at = now()
    return key
