from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from models.base import Base, Json, StateColumn, now
from models.plan import Plan, PlanColumn
from models.states import JobState
from models.tables.dataset import Dataset
from models.tables.model import Model


class Certification(Base):
    """A job: one method, one model, a range of the inputs of one data set. The row is the truth, messages are bells."""

    __tablename__ = "certifications"

    id: Mapped[str] = mapped_column(primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), index=True)
    # In front of the model: what is certified is model(denoiser(x)).
    denoiser_model_id: Mapped[str | None] = mapped_column(ForeignKey("models.id"))
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), index=True)
    method: Mapped[Json]
    plan: Mapped[Plan] = mapped_column(PlanColumn, server_default="{}")
    # Inputs are the indices of range(start, stop, step).
    start: Mapped[int]
    stop: Mapped[int]
    step: Mapped[int]
    state: Mapped[JobState] = mapped_column(StateColumn(JobState), default=JobState.QUEUED, index=True)
    # What runs its samples (smoothed networks): executor and batch_size, settled before the first is counted; and where
    # those were found by a search, `searched`: the device, and the number of samples that it was for.
    execution: Mapped[Json | None]
    # Progress, in samples (smoothed networks, splitting) or inputs (lipschitz).
    done: Mapped[int] = mapped_column(BigInteger, default=0)
    total: Mapped[int] = mapped_column(BigInteger)
    summary: Mapped[Json | None]
    problem: Mapped[Json | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    model: Mapped[Model] = relationship(lazy="joined", foreign_keys=[model_id])
    denoiser: Mapped[Model | None] = relationship(lazy="joined", foreign_keys=[denoiser_model_id])
    dataset: Mapped[Dataset] = relationship(lazy="joined")

    @property
    def indices(self) -> range:
        """The data set indices that this certification is about."""
        return range(self.start, self.stop, self.step)
