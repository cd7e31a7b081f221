from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base


class LooseBlob(Base):
    """A blob that may be nobody's: one that is about to be written, or that a deleted row named.

    Whoever writes a blob announces it here first, and whoever collects holds this row while it removes the blob, so the
    two never cross (``models.repositories.loose_blobs``). Once a row is found to name the blob, this one goes.
    """

    __tablename__ = "loose_blobs"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime]
