from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from models.base import Base, Json, StateColumn, now
from models.states import IntakeState
from models.tables.leased import Leased
from models.tables.owned import Owned
from models.tables.upload import Upload
from models.tables.versioned import Versioned


class Dataset(Leased, Versioned, Owned, Base):
    """Inputs x and, where given, labels y."""

    __tablename__ = "datasets"
    __table_args__ = (
        Index("ix_datasets_state", "state", "lease_expires_at"),
        Index("ix_datasets_tenant", "tenant", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id"), index=True)
    # Of tenant and file digest: the same bytes sent twice are the same data set.
    fingerprint: Mapped[str] = mapped_column(unique=True)
    state: Mapped[IntakeState] = mapped_column(StateColumn(IntakeState), default=IntakeState.VALIDATING)
    # What intake found: count, shape, min, max, labels histogram, and the blobs of x and y as plain arrays.
    summary: Mapped[Json | None]
    problem: Mapped[Json | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    finished_at: Mapped[datetime | None]

    upload: Mapped[Upload] = relationship(lazy="joined")
