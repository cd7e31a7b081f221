from datetime import datetime

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, now
from models.tables.owned import Owned


class Batch(Owned, Base):
    """Certifications that were asked for together. Its state is theirs, and is kept nowhere else."""

    __tablename__ = "batches"
    __table_args__ = (Index("ix_batches_tenant", "tenant", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    # Of tenant and certifications, in whatever order: the same question asked twice is the same batch.
    fingerprint: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
