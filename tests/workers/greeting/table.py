from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Json, StateColumn
from models.states import IntakeState
from models.tables.leased import Leased


class Greeting(Leased, Base):
    """Somebody to be greeted."""

    __tablename__ = "greetings"

    id: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[IntakeState] = mapped_column(StateColumn(IntakeState), default=IntakeState.VALIDATING)
    words: Mapped[str | None]
    problem: Mapped[Json | None]
