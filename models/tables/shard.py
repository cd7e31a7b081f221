from sqlalchemy import BigInteger, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from models.base import Base, StateColumn
from models.states import JobState
from models.tables.certification import Certification
from models.tables.leased import Leased
from models.tables.owned import OfCertification


class Shard(Leased, OfCertification, Base):
    """A range of a certification's inputs, or of the samples of one: what one worker takes at a time."""

    __tablename__ = "shards"
    __table_args__ = (
        Index("ix_shards_state", "state", "lease_expires_at"),
        Index("ix_shards_certification_id", "certification_id", "state"),  # there may be 100,000 of one
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    certification_id: Mapped[str] = mapped_column(ForeignKey("certifications.id", ondelete="CASCADE"))
    # Positions start .. stop-1 in the certification's range of indices.
    start: Mapped[int]
    stop: Mapped[int]
    # Of a part of one input: chunks first_chunk .. stop_chunk-1. Once all its parts have ended a shard without these
    # puts their chunks together.
    first_chunk: Mapped[int | None]
    stop_chunk: Mapped[int | None]
    state: Mapped[JobState] = mapped_column(StateColumn(JobState), default=JobState.QUEUED)
    done: Mapped[int] = mapped_column(BigInteger, default=0)  # progress, in the units of its certification
    doing: Mapped[str | None]  # what its worker was last heard to do, in words that follow "while"

    # How often its runner died or hung amid its inputs since the last progress: claims that are not in ``attempts``.
    deaths: Mapped[int] = mapped_column(default=0, server_default="0")

    certification: Mapped[Certification] = relationship()

    @property
    def indices(self) -> range:
        """The data set indices of this shard."""
        return self.certification.indices[self.start : self.stop]
