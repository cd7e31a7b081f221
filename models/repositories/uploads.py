"""Uploads."""

from sqlalchemy.orm import Session

from models.ids import UPLOAD, new_id
from models.tables import Upload


def add(session: Session, *, sha256: str, size: int) -> Upload:
    """Note that the blob ``sha256`` of ``size`` bytes has arrived."""
    upload = Upload(id=new_id(UPLOAD), sha256=sha256, size=size)
    session.add(upload)
    session.flush()
    return upload


def get(session: Session, upload_id: str) -> Upload | None:
    """The upload, if there is one of that id."""
    return session.get(Upload, upload_id)
