from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, cast, column, func, select, table, text
from sqlalchemy.orm import Mapped, column_property, mapped_column, relationship

from models import precedence
from models.base import Base, Json, StateColumn, now
from models.plan import Plan, PlanColumn
from models.states import JobState
from models.tables.dataset import Dataset
from models.tables.leased import Leased
from models.tables.model import Model
from models.tables.owned import Owned
from models.tables.versioned import Versioned
from models.totals import Totals, TotalsColumn

OPEN_ROWS = "state IN ('queued', 'running')"
UNCUT, DUE = text(f"unsharded > 0 AND {OPEN_ROWS}"), text(f"due_at IS NOT NULL AND {OPEN_ROWS}")

SHARDS = table("shards", *(column(name) for name in ("certification_id", "state", "done")))


class Certification(Leased, Versioned, Owned, Base):
    """A job: one method, one model, a range of the inputs of one data set. The row is the truth, messages are bells.

    Who computes takes a shard, which is cut from what is left of it at that moment. A worker takes the certification
    itself to end it when all of them have.
    """

    __tablename__ = "certifications"
    __table_args__ = (
        Index("ix_certifications_state", "state", "lease_expires_at"),
        Index("ix_certifications_tenant", "tenant", "id"),
        Index("ix_certifications_batch_id", "batch_id", "batch_index"),
        # Whose turn it is is looked up for each shard, and what is due to end before it.
        Index("ix_certifications_turn", "rank", "key_id", "id", postgresql_where=UNCUT, sqlite_where=UNCUT),
        Index("ix_certifications_served", "key_id", "served_at"),
        Index("ix_certifications_due", "due_at", postgresql_where=DUE, sqlite_where=DUE),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), index=True)
    # In front of the model: what is certified is model(denoiser(x)).
    denoiser_model_id: Mapped[str | None] = mapped_column(ForeignKey("models.id"), index=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), index=True)
    # The batch that it was asked for in, if it was, and its place there.
    batch_id: Mapped[str | None] = mapped_column(ForeignKey("batches.id"))
    batch_index: Mapped[int | None]
    method: Mapped[Json]
    plan: Mapped[Plan] = mapped_column(PlanColumn, server_default="{}")
    # The stage of the plan whose samples workers may share, each chunk being counted for itself; and none else.
    apart: Mapped[str | None]
    # Inputs are the indices of range(start, stop, step).
    start: Mapped[int]
    stop: Mapped[int]
    step: Mapped[int]
    # Who is next: ``models.precedence``; whose key asked; and when a shard was last cut from it.
    rank: Mapped[int] = mapped_column(default=precedence.USUAL, server_default=str(precedence.USUAL))
    key_id: Mapped[str] = mapped_column(default="", server_default="")
    served_at: Mapped[datetime | None]
    # Since when all its shards have ended: so it is found by those who end it.
    due_at: Mapped[datetime | None]
    # Inputs of a shard where no pace is known, and how many of all belong to none yet.
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
    def priority(self) -> int:
        """From 0 to 9; the highest is served first."""
        return precedence.priority(self.rank)

    @property
    def interactive(self) -> bool:
        """Whether it is small and waited for."""
        return precedence.interactive(self.rank)

    @property
    def indices(self) -> range:
        """The data set indices that this certification is about."""
        return range(self.start, self.stop, self.step)
