"""Notes: kept, listed, read."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel

from app.auth import Caller
from app.parameters import PAGE, Limit, NoteCursor, checked_id, missing
from app.schema import Input, Text
from app.service import NEEDS_ROOM, InService
from models.repositories import notes, pages
from models.tables import Note

router = APIRouter(tags=["notes"])


class NoteInput(Input):
    """Something to be remembered."""

    text: Text


class NoteOut(BaseModel):
    """A note."""

    id: str
    text: str
    created_at: datetime


class NotePage(BaseModel):
    items: list[NoteOut]
    next_cursor: str | None


def shown(row: Note) -> NoteOut:
    """The representation of ``row``."""
    return NoteOut.model_validate(row, from_attributes=True)


@router.post("/notes", status_code=201, dependencies=NEEDS_ROOM, summary="Keep a note")
def create(body: NoteInput, service: InService, principal: Caller) -> NoteOut:
    with service.database.write(principal) as session:
        return shown(notes.add(session, principal.tenant, text=body.text))


@router.get("/notes", summary="List notes, newest first")
def index(service: InService, principal: Caller, cursor: NoteCursor = None, limit: Limit = PAGE) -> NotePage:
    with service.database.read(principal) as session:
        rows, after = pages.newest(session, Note, before=cursor, limit=limit)
        return NotePage(items=[shown(row) for row in rows], next_cursor=after)


@router.get("/notes/{note_id}", summary="A note")
def show(note_id: str, service: InService, principal: Caller) -> NoteOut:
    with service.database.read(principal) as session:
        row = notes.get(session, checked_id("note", note_id))
        if row is None:
            raise missing("note", note_id)
        return shown(row)
