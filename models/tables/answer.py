from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Json
from models.tables.owned import Owned, forgotten


class Answer(Owned, Base):
    """The whole result of a tenant's question about an input, whichever certification came to it: asked again by that
    tenant, the very same question needs nothing but this row.

    Like the ledger it outlives certifications. The ledger keeps what other questions about the same noise can use.
    """

    __tablename__ = "answers"

    tenant: Mapped[str] = mapped_column(primary_key=True, default=forgotten)
    model: Mapped[str] = mapped_column(primary_key=True)  # digest of its graph; with a denoiser, of both
    input: Mapped[str] = mapped_column(primary_key=True)  # digest
    question: Mapped[str] = mapped_column(primary_key=True)  # the method, and what else an answer depends on
    certification_id: Mapped[str]  # that came to it
    prediction: Mapped[int | None]
    radius: Mapped[float | None]
    abstained: Mapped[bool]
    detail: Mapped[Json]  # as in results, but for what is of that certification alone
    attack: Mapped[Json | None]  # what an attack on it came to, once there was one
