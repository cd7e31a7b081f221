from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Json


class Report(Base):
    """What a certification rests on besides its inputs: the network's bound, layer by layer. Written once.

    A table of its own, since it is large and lists of certifications do without it.
    """

    __tablename__ = "reports"

    certification_id: Mapped[str] = mapped_column(ForeignKey("certifications.id", ondelete="CASCADE"), primary_key=True)
    document: Mapped[Json]
