from datetime import datetime

from sqlalchemy import BigInteger, Index
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, now
from models.tables.owned import Owned


class Upload(Owned, Base):
    """Raw bytes that a client sent, kept as the blob ``sha256``; never parsed by the API."""

    __tablename__ = "uploads"
    __table_args__ = (Index("ix_uploads_tenant", "tenant", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(default=now)
