from datetime import datetime

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, now
from models.tables.owned import Owned


class Note(Owned, Base):
    """Something to be remembered."""

    __tablename__ = "notes"
    __table_args__ = (Index("ix_notes_tenant", "tenant", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    text: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)
