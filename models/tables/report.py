from sqlalchemy.orm import Mapped

from models.base import Base, Json
from models.tables.owned import OfCertification


class Report(OfCertification, Base):
    """What a certification rests on besides its inputs: the network's bound, layer by layer. Written once.

    A table of its own, since it is large and lists of certifications do without it.
    """

    __tablename__ = "reports"

    document: Mapped[Json]
