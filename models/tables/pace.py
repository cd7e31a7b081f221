from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, now
from models.tables.owned import Owned


class Pace(Owned, Base):
    """How fast a kind of device computes a method on a network, as measured last. Shards are cut by it."""

    __tablename__ = "paces"

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), primary_key=True)
    denoiser_model_id: Mapped[str] = mapped_column(primary_key=True, default="")  # "": there is none
    method: Mapped[str] = mapped_column(primary_key=True)  # its kind
    device: Mapped[str] = mapped_column(primary_key=True)  # its kind: cpu, or what a GPU calls itself
    per_second: Mapped[float]  # units of progress: samples, or inputs
    measured_at: Mapped[datetime] = mapped_column(default=now)
