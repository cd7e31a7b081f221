"""What a tenant sees of the database: a session in which there is nothing but its own rows.

Nobody has to think of it in a query. Every select, update and delete, by id, over a relationship or in a subquery, gets
the condition that its tables have for it (``owned_by``), and every row is looked at before it is written. What can't be
kept to one tenant is refused: text, statements of plain tables, and tables that have no owner.
"""

from functools import lru_cache
from typing import NoReturn

from sqlalchemy import ClauseElement, Engine, Table, event
from sqlalchemy.orm import LoaderCriteriaOption, ORMExecuteState, Session, with_loader_criteria
from sqlalchemy.sql import visitors

from models.base import Base
from models.principal import Principal
from models.tables.owned import OfCertification, Owned, Unowned


class NotOneTenants(Exception):
    """A statement in a tenant's session that can't be kept to that tenant's rows; it was not executed.

    Write it with the classes of ``models.tables``; a new table is ``Owned``, or ``OfCertification``.
    """


class TenantSession(Session):
    """A session of ``principal``'s tenant."""

    def __init__(self, principal: Principal, engine: Engine) -> None:
        super().__init__(engine, expire_on_commit=False)
        self.principal = principal
        self.conditions = _conditions(principal.tenant)

    def connection(self, *_: object, **__: object) -> NoReturn:
        """Not to be had: what is executed on it is not kept to the tenant's rows. Raises ``NotOneTenants``."""
        raise NotOneTenants(NotOneTenants.__doc__)


@lru_cache(maxsize=1000)
def _conditions(tenant: str) -> dict[str, LoaderCriteriaOption]:
    """The condition of each table whose rows have an owner, by the table's name."""
    classes = {mapper.tables[0].name: mapper.class_ for mapper in Base.registry.mappers}
    return {
        name: with_loader_criteria(cls, cls.owned_by(tenant), include_aliases=True)
        for name, cls in classes.items()
        if issubclass(cls, Owned | OfCertification)
    }


@event.listens_for(TenantSession, "do_orm_execute")
def _of_own_rows(state: ORMExecuteState) -> None:
    """Keep a statement to the tenant's rows. Raises ``NotOneTenants``."""
    session = state.session
    assert isinstance(session, TenantSession)
    if not state.is_orm_statement or state.is_insert or state.is_from_statement:
        raise NotOneTenants(f"{NotOneTenants.__doc__} It was: {state.statement}")
    assert isinstance(state.statement, ClauseElement)
    for element in visitors.iterate(state.statement):
        if isinstance(element, Table) and element.name not in session.conditions:
            raise NotOneTenants(f"{element.name}: {NotOneTenants.__doc__}")
    state.statement = state.statement.options(*session.conditions.values())


@event.listens_for(TenantSession, "before_flush")
def _own_rows_alone(session: TenantSession, _context: object, _rows: object) -> None:
    """Look at all that is to be written. Raises ``Unowned``."""
    for row in (*session.new, *session.dirty, *session.deleted):
        if not isinstance(row, Owned) or row.tenant != session.principal.tenant:
            raise Unowned(f"{type(row).__name__}: {Unowned.__doc__}")
