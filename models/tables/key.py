from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, now


class Key(Base):
    """An API key. Only the SHA-256 of its text is kept: the text has 256 random bits, so no slow hash is needed."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    sha256: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    revoked_at: Mapped[datetime | None]
