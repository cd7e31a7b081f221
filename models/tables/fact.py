from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base


class Fact(Base):
    """Something true of this installation as a whole, such as the fingerprint of its noise secret."""

    __tablename__ = "facts"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
