"""Whose a row is. A table that is neither ``Owned`` nor ``OfCertification`` is the installation's, and no request sees
it."""

from typing import NoReturn

from sqlalchemy import ColumnElement, ForeignKey, column, select, table
from sqlalchemy.exc import DontWrapMixin
from sqlalchemy.orm import Mapped, mapped_column

CERTIFICATIONS = table("certifications", column("id"), column("tenant"))


GONE = ""
"""Whose a row is that was deleted: nobody's, so that no request sees it any more. ``models.housekeeping`` removes it,
piece by piece: a certification may have a million results, and no transaction is to be that long."""


class Unowned(DontWrapMixin, Exception):
    """A row was to be written that says nothing of its tenant, or is another's; nothing was written.

    Whoever makes a row of an ``Owned`` table names its tenant: that of the principal, or of the row that it comes from.
    """


def forgotten() -> NoReturn:
    """In place of a default: a row of nobody would be everybody's. Raises ``Unowned``."""
    raise Unowned(Unowned.__doc__)


class Owned:
    """A row that belongs to a tenant."""

    tenant: Mapped[str] = mapped_column(default=forgotten)

    @classmethod
    def owned_by(cls, tenant: str) -> ColumnElement[bool]:
        """Condition for the rows that are ``tenant``'s."""
        return cls.tenant == tenant


class OfCertification:
    """A row that belongs to whom its certification does."""

    certification_id: Mapped[str] = mapped_column(
        ForeignKey("certifications.id", ondelete="CASCADE"), primary_key=True, sort_order=-1
    )

    @classmethod
    def owned_by(cls, tenant: str) -> ColumnElement[bool]:
        """Condition for the rows that are ``tenant``'s."""
        return cls.certification_id.in_(select(CERTIFICATIONS.c.id).where(CERTIFICATIONS.c.tenant == tenant))
