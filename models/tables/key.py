from datetime import datetime

from sqlalchemy import Dialect, Index, String, TypeDecorator
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, now
from models.principal import EVERYTHING, Scope
from models.tables.owned import Owned


class ScopesColumn(TypeDecorator[frozenset[Scope]]):
    """Scopes, kept as their words with spaces between (as in RFC 6749, 3.3)."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: frozenset[Scope] | None, dialect: Dialect) -> str | None:
        return None if value is None else " ".join(scope for scope in Scope if scope in value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> frozenset[Scope] | None:
        return None if value is None else frozenset(map(Scope, value.split()))


class Key(Owned, Base):
    """An API key: who carries it acts for its tenant. Only the SHA-256 of its text is kept: the text has 256 random
    bits, so no slow hash is needed."""

    __tablename__ = "keys"
    __table_args__ = (Index("ix_keys_tenant", "tenant", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    sha256: Mapped[str] = mapped_column(unique=True)
    scopes: Mapped[frozenset[Scope]] = mapped_column(ScopesColumn, default=EVERYTHING)
    created_at: Mapped[datetime] = mapped_column(default=now)
    revoked_at: Mapped[datetime | None]
