from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from models.base import JSON_COLUMN, Base, Json
from models.tables.owned import Owned, forgotten


class Ledger(Owned, Base):
    """The votes of the first ``samples`` samples of a noise stream, whichever certification of a tenant counted them.

    The columns ``model`` to ``stage`` name the stream. Its votes are the same whoever asks, but what one tenant asked
    is no other's to see: each has a ledger of its own. It outlives certifications: the same question has the same
    answer, and choosing the best of several questions leaves its trace.

    What is kept of mean scores depends on more: on what the pilot chose, which depends on all that was asked. They are
    kept for the very same question alone; `stage` ends with it. So are the bounds of medians: the outputs
    that they are among are too many to keep. And decisions: they stopped where their looks at the votes said, so
    ``samples`` is what they might have taken.
    """

    __tablename__ = "ledger"

    tenant: Mapped[str] = mapped_column(primary_key=True, default=forgotten)
    model: Mapped[str] = mapped_column(primary_key=True)  # digest of its graph; with a denoiser, of both
    input: Mapped[str] = mapped_column(primary_key=True)  # digest
    noise: Mapped[str] = mapped_column(primary_key=True)  # what of the method and the data set the votes depend on
    stage: Mapped[str] = mapped_column(primary_key=True)  # pilot | estimate | predict | median; of some, the question
    samples: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    counts: Mapped[list[int]] = mapped_column(JSON_COLUMN)
    scores: Mapped[Json | None]  # as in chunks
