"""Uploads."""

from sqlalchemy.orm import Session

from models.ids import UPLOAD, new_id
from models.tables import Upload
from models.tenant_session import TenantSession

SHARED = {"read": True, "key_share": True}  # locks of those who make a row that needs another; they bear one another


def add(session: Session, tenant: str, *, sha256: str, size: int) -> Upload:
    """Note that the blob ``sha256`` of ``size`` bytes has arrived from ``tenant``."""
    upload = Upload(id=new_id(UPLOAD), tenant=tenant, sha256=sha256, size=size)
    session.add(upload)
    session.flush()
    return upload


def get(session: TenantSession, upload_id: str, *, lock: bool = False) -> Upload | None:
    """The upload, if there is one of that id; ``lock``: nobody deletes it until the transaction ends."""
    return session.get(Upload, upload_id, with_for_update=SHARED if lock else None)
