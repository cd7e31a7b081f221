"""Who is behind a request. Pure data: the API finds it out (``app.auth``), sessions are opened for it."""

from dataclasses import dataclass, field
from enum import StrEnum

DEFAULT_TENANT = "default"
"""Whose everything is where nobody said otherwise: of rows from before there were tenants, and of the first key."""


class Scope(StrEnum):
    """What a key may be used for."""

    READ = "read"
    SUBMIT = "submit"
    MANAGE = "manage"
    ADMIN = "admin"


EVERYTHING = frozenset(Scope)


@dataclass(frozen=True)
class Principal:
    """The tenant whose rows a request sees and makes, by which of its keys, and what that key is good for.

    A tenant is a name, and all that is known of one are the rows that bear it, its keys first: it has no table.
    """

    tenant: str
    key: str  # id
    scopes: frozenset[Scope]
    name: str = field(default="", compare=False)  # of the key, for the log
