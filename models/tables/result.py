from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Json
from models.tables.owned import OfCertification


class Result(OfCertification, Base):
    """What was certified for one input. Abstention is ``prediction`` and ``radius`` NULL and ``abstained`` true, never
    0; which class was looked at, ``detail`` may say (``pilot_class``)."""

    __tablename__ = "results"

    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    label: Mapped[int | None]
    prediction: Mapped[int | None]
    radius: Mapped[float | None]
    abstained: Mapped[bool]
    # Method's own: what the results of its kind have (radii.methods) besides the columns.
    detail: Mapped[Json]
