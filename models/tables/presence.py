from datetime import datetime

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Json


class Presence(Base):
    """A worker that says it is there. It is of the installation, for a worker serves every tenant, and decides nothing:
    who works on a row is what the row says. One that has gone silent is there until ``expires_at``."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)  # machine/process, as rows name who took them
    host: Mapped[str]
    version: Mapped[str]
    queues: Mapped[str]  # with spaces between
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    # What its runner computes on, once there is one: "cpu", or the name of a GPU; and the memory there, in bytes.
    device: Mapped[str | None]
    memory: Mapped[int | None] = mapped_column(BigInteger)
    memory_total: Mapped[int | None] = mapped_column(BigInteger)
    samples_per_second: Mapped[float | None]  # of late, while it computed
    # What it works on: noun, id and job of the row, since when, what it was last heard to do, and its id in the log.
    work: Mapped[Json | None]
    figures: Mapped[Json]  # its counters since it started (models.metrics)
