from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from models.base import Base, Json, StateColumn, now
from models.states import IntakeState
from models.tables.leased import Leased
from models.tables.owned import Owned
from models.tables.upload import Upload
from models.tables.versioned import Versioned


class Model(Leased, Versioned, Owned, Base):
    """A neural network that a user uploaded."""

    __tablename__ = "models"
    __table_args__ = (
        Index("ix_models_state", "state", "lease_expires_at"),
        Index("ix_models_tenant", "tenant", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id"), index=True)
    # What the user declared: input {shape, range, mean, std}, output, labels, external_data {name: upload id}.
    settings: Mapped[Json]
    # Of tenant, file digests and settings: the same question asked twice is the same model.
    fingerprint: Mapped[str] = mapped_column(unique=True)
    state: Mapped[IntakeState] = mapped_column(StateColumn(IntakeState), default=IntakeState.VALIDATING)
    # What intake found: digest, input_shape, num_classes, graph summary, methods that apply and why not.
    summary: Mapped[Json | None]
    problem: Mapped[Json | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    finished_at: Mapped[datetime | None]

    upload: Mapped[Upload] = relationship(lazy="joined")
