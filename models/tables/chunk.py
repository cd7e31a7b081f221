from sqlalchemy.orm import Mapped, mapped_column

from models.base import JSON_COLUMN, Base, Json
from models.counts import REUSED as REUSED
from models.tables.owned import OfCertification


class Chunk(OfCertification, Base):
    """The counts of one finished chunk of samples of an input. The primary key makes a chunk count once.

    Rows live until their input's result is written; the result then holds the sum.
    """

    __tablename__ = "chunks"

    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    stage: Mapped[str] = mapped_column(primary_key=True)  # pilot | estimate | predict | median | split
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    counts: Mapped[list[int]] = mapped_column(JSON_COLUMN)
    # Of mean scores: what the pilot chose, or mean and squares (sums of squared differences from it) a class. Of a
    # median from the ledger: its bounds, and what ran its samples. Of a decision from there: which it was.
    scores: Mapped[Json | None]
