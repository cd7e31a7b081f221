"""Whether what is shown of a row has changed: by one indexed read, whatever the row holds."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, exists, select

from models.states import OPEN, TERMINAL, JobState
from models.tables import Batch, Certification, Dataset, Model, Shard

Shown = type[Model] | type[Dataset] | type[Certification]
Waited = Shown | type[Batch]
Mark = tuple[Any, ...]

MOST = 100  # shards under way that are looked at; more than are shown


def mark(connection: Connection, table: Shown, tenant: str, row_id: str) -> Mark | None:
    """Equal to the one before where nothing has changed that is shown of the tenant's row; None if there is none."""
    rows = connection.execute(MARKS[table], {"row": row_id, "owner": tenant}).all()
    return tuple(map(tuple, rows)) or None


def ended(connection: Connection, table: Waited, ids: Iterable[str]) -> Sequence[str]:
    """Those of the rows that have ended."""
    if table is Batch:  # which is what its certifications are
        under_way = exists().where(Certification.batch_id == Batch.id, Certification.state.in_(OPEN))
        return connection.scalars(select(Batch.id).where(Batch.id.in_(list(ids)), ~under_way)).all()
    columns = table.metadata.tables[table.__tablename__].c
    return connection.scalars(
        select(columns.id).where(columns.id.in_(list(ids)), columns.state.in_(sorted(TERMINAL)))
    ).all()


def _plain(table: Shown) -> Any:
    columns = table.metadata.tables[table.__tablename__].c
    return select(columns.version).where(columns.id == bindparam("row"), columns.tenant == bindparam("owner"))


def _with_shards() -> Any:
    """What computes writes to its shard alone, not to the certification that all of them share."""
    job, shard = (row.metadata.tables[row.__tablename__] for row in (Certification, Shard))
    under_way = (shard.c.certification_id == job.c.id) & (shard.c.state == JobState.RUNNING)
    leased = shard.c.lease_expires_at.is_not(None)
    return (
        _plain(Certification)
        .add_columns(shard.c.id, shard.c.fence, shard.c.done, shard.c.doing, leased)
        .select_from(job.outerjoin(shard, under_way))
        .order_by(shard.c.start)
        .limit(MOST)
    )


MARKS: dict[Shown, Any] = {Model: _plain(Model), Dataset: _plain(Dataset), Certification: _with_shards()}
