"""API keys: issued once, kept as a digest, valid until they are revoked."""

import hashlib
import secrets
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.base import now
from models.ids import KEY, new_id
from models.principal import Principal
from models.tables import Key


class LastKey(Exception):
    """It is the last valid key of its tenant: without it nobody could reach that tenant's rows, nor make another key to
    them, whatever keys others have. Nothing was revoked."""


def digest(text: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(text.encode()).hexdigest()


def add(session: Session, tenant: str, name: str, text: str) -> Key:
    """Make ``text`` a valid key of ``tenant`` called ``name``, good for everything; the same text twice is one key."""
    found = session.scalar(select(Key).where(Key.sha256 == digest(text)))
    if found:
        return found
    key = Key(id=new_id(KEY), tenant=tenant, name=name, sha256=digest(text))
    session.add(key)
    return key


def fresh_text() -> str:
    """The text of a new key: ``radii_`` and 43 characters of 256 random bits."""
    return f"radii_{secrets.token_urlsafe(32)}"


def authenticate(session: Session, text: str) -> Principal | None:
    """Who is behind the valid key whose text this is."""
    key = session.scalar(select(Key).where(Key.sha256 == digest(text), Key.revoked_at.is_(None)))
    return None if key is None else Principal(key.tenant, key.id, key.scopes, key.name)


def valid(session: Session, tenant: str, *, lock: bool = False) -> Sequence[Key]:
    """The tenant's valid keys, oldest first; ``lock`` keeps them from changing until the transaction ends."""
    query = select(Key).where(Key.tenant == tenant, Key.revoked_at.is_(None)).order_by(Key.id)
    return session.scalars(query.with_for_update() if lock else query).all()


def revoke(session: Session, tenant: str, key_id: str) -> Key | None:
    """The tenant's key of that id, revoked now or before; None if there is none. Raises ``LastKey``."""
    living = valid(session, tenant, lock=True)
    key = session.scalar(select(Key).where(Key.tenant == tenant, Key.id == key_id))
    if key is not None and key in living:
        if len(living) == 1:
            raise LastKey
        key.revoked_at = now()
    return key
