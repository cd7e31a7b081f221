"""Notes."""

from models.ids import NOTE, new_id
from models.tables import Note
from models.tenant_session import TenantSession


def add(session: TenantSession, tenant: str, *, text: str) -> Note:
    """A note of ``tenant``."""
    note = Note(id=new_id(NOTE), tenant=tenant, text=text)
    session.add(note)
    session.flush()
    return note


def get(session: TenantSession, note_id: str) -> Note | None:
    """The tenant's note, if it has one of that id."""
    return session.get(Note, note_id)
