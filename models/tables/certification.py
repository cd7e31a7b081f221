from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, cast, column, func, select, table
from sqlalchemy.orm import Mapped, column_property, mapped_column, relationship

from models.base import Base, Json, StateColumn, now
from models.plan import Plan, PlanColumn
from models.states import JobState
from models.tables.dataset import Dataset
from models.tables.leased import Leased
from models.tables.model import Model
from models.tables.owned import Owned
from models.totals import Totals, TotalsColumn

SHARDS = table("shards", *(column(name) for name in ("certification_id", "state", "done")))


class Certification(Leased, Owned, Base):
    """A job: one method, one model, a range of the inputs of one data set. The row is the truth, messages are bells.

    A worker takes it to cut it into shards, and to end it when all of them have. Who computes takes a shard.
    """

    __tablename__ = "certifications"
    __table_args__ = (
        Index("ix_certifications_state", "state", "lease_expires_at"),
        Index("ix_certifications_tenant", "tenant", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), index=True)
    # In front of the model: what is certified is model(denoiser(x)).
    denoiser_model_id: Mapped[str | None] = mapped_column(ForeignKey("models.id"), index=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), index=True)
    method: Mapped[Json]
    plan: Mapped[Plan] = mapped_column(PlanColumn, server_default="{}")
    # Inputs are the indices of range(start, stop, step).
    start: Mapped[int]
    stop: Mapped[int]
    step: Mapped[int]
    # Inputs of a shard, and how many of all belong to none yet.
    shard_inputs: Mapped[int]
    unsharded: Mapped[int]
    state: Mapped[JobState] = mapped_column(StateColumn(JobState), default=JobState.QUEUED)
    # What runs its samples (smoothed networks): executor and batch_size, settled before the first is counted; and where
    # those were found by a search, `searched`: the device, and the number of samples that it was for.
    execution: Mapped[Json | None]
    # Progress, in samples (smoothed networks, splitting) or inputs (lipschitz). Each shard counts its own, which is
    # added here when it ends: `done`, below, is the sum.
    done_by_ended: Mapped[int] = mapped_column(BigInteger, default=0)
    done: Mapped[int] = column_property(
        done_by_ended
        + select(cast(func.coalesce(func.sum(SHARDS.c.done), 0), BigInteger))
        .where(SHARDS.c.certification_id == id, SHARDS.c.state == JobState.RUNNING.value)  # noqa: A003 (the column)
        .scalar_subquery()
    )
    total: Mapped[int] = mapped_column(BigInteger)
    totals: Mapped[Totals] = mapped_column(
        TotalsColumn, default=Totals(), server_default="{}"
    )  # of the results of ended shards
    summary: Mapped[Json | None]
    problem: Mapped[Json | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    model: Mapped[Model] = relationship(foreign_keys=[model_id])
    denoiser: Mapped[Model | None] = relationship(foreign_keys=[denoiser_model_id])
    dataset: Mapped[Dataset] = relationship()

    @property
    def indices(self) -> range:
        """The data set indices that this certification is about."""
        return range(self.start, self.stop, self.step)
