"""API keys of a tenant: issued, listed, revoked. Any valid key of it may do so; there is one kind."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.auth import Caller
from app.errors import Refusal
from app.parameters import PAGE, KeyCursor, Limit, checked_id, missing
from app.schema import Input, Text
from app.service import InService
from models.principal import Principal
from models.problems import Problem
from models.repositories import keys, pages
from models.tables import Key

router = APIRouter(tags=["keys"])


class KeyInput(Input):
    """A key for somebody, or for some program."""

    name: Text = Field(description="Whose it is, or what it is for.", examples=["nightly pipeline"])


class KeyOut(BaseModel):
    """An API key, without its text, of which the service keeps a digest alone."""

    id: str
    name: str
    current: bool = Field(description="The one that this request carries.")
    created_at: datetime
    revoked_at: datetime | None = Field(description="Since when it is refused; null: it is valid.")


class KeyMade(KeyOut):
    """A new API key."""

    key: str = Field(description="Its text, for `Authorization: Bearer`. It is shown this once.")


class KeyPage(BaseModel):
    items: list[KeyOut]
    next_cursor: str | None


def shown(row: Key, principal: Principal) -> KeyOut:
    """The representation of ``row``."""
    own = {name: getattr(row, name) for name in KeyOut.model_fields if hasattr(row, name)}
    return KeyOut(**own, current=row.id == principal.key)


@router.post("/keys", status_code=201, summary="Create an API key")
def create(body: KeyInput, service: InService, principal: Caller) -> KeyMade:
    """The answer alone holds its text (`key`)."""
    text = keys.fresh_text()
    with service.database.write(principal) as session:
        row = keys.add(session, principal.tenant, body.name, text)
        session.flush()
        return KeyMade(**dict(shown(row, principal)), key=text)


@router.get("/keys", summary="List API keys, newest first")
def index(service: InService, principal: Caller, cursor: KeyCursor = None, limit: Limit = PAGE) -> KeyPage:
    """Those that were revoked too."""
    with service.database.read(principal) as session:
        rows, after = pages.newest(session, Key, before=cursor, limit=limit)
        return KeyPage(items=[shown(row, principal) for row in rows], next_cursor=after)


@router.delete("/keys/{key_id}", summary="Revoke an API key")
def revoke(key_id: str, service: InService, principal: Caller) -> KeyOut:
    """It is refused within a second; again is no error. The last valid key stays: create another first."""
    with service.database.write(principal) as session:
        try:
            row = keys.revoke(session, principal.tenant, checked_id("key", key_id))
        except keys.LastKey:
            raise Refusal(Problem.LAST_KEY, f"without {key_id} nobody could get in any more") from None
        if row is None:
            raise missing("key", key_id)
        out = shown(row, principal)
    service.database.forget_keys()
    return out
