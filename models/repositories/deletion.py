"""Deleting: what a row is needed by, and how it goes.

A deleted row is nobody's from then on (``GONE``): no request sees it, and no worker takes it. ``remove`` then takes it
out of the tables in short transactions. What was counted stays in ledger and answers, which no deletion touches: the
same question asked again has the same noise and the same votes, so nobody can ask until the draw is lucky, and choosing
the best of several questions still leaves its trace.

A batch needs its certifications, whose state is its own; they go with it, where it is what is deleted.

Locks: a row before the rows that need it, a batch before its certifications, and one of those before its shards.
Whoever makes a row that needs another locks that one first (``lock=True`` of ``uploads.get`` and ``intake.get``):
either sees what the other did.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, or_, select, tuple_, update
from sqlalchemy.orm import Session

from models.base import Base, now
from models.database import parts
from models.ids import BATCH, CERTIFICATION, DATASET, MODEL, UPLOAD
from models.repositories import loose_blobs
from models.states import OPEN, IntakeState, JobState
from models.tables import Batch, Certification, Dataset, Model, Shard, Upload
from models.tables.owned import GONE, OfCertification

Ids = Sequence[Any]  # of texts, or columns


@dataclass(frozen=True)
class Kind:
    """A kind of row that users delete."""

    name: str
    table: Any
    """A class of ``Owned`` with ``id``."""
    needs: dict[str, Callable[[Ids], ColumnElement[bool]]]
    """Prefixes of the ids that its rows need, and the condition for those that need one of these ids."""
    end: Callable[[Session, Ids], None] = lambda session, ids: None
    """Ends what is under way about those (locked) rows."""
    gone: Callable[[], dict[Any, Any]] = dict
    """Columns that change besides when a row goes, so that the same may be made anew."""
    blobs: Callable[[Any], Sequence[str | None]] = lambda row: ()
    """The blobs that a row names."""

    @property
    def several(self) -> str:
        """Its name where there are several."""
        return f"{self.name}es" if self.name.endswith("ch") else f"{self.name}s"


def _of_uploads(ids: Ids) -> ColumnElement[bool]:
    # Weight files have no column: their names and upload ids stand in the settings.
    external = Model.settings["external_data"].as_string()
    return or_(Model.upload_id.in_(ids), *(external.contains(upload_id) for upload_id in ids))


def _end_certifications(session: Session, ids: Ids) -> None:
    """As cancelling does, without figures, which nobody will read. Workers lose their claims."""
    jobs = update(Certification).where(Certification.id.in_(ids), Certification.state.in_(OPEN))
    session.execute(jobs.values(state=JobState.CANCELLED, finished_at=now()), execution_options=BLIND)
    shards = update(Shard).where(Shard.certification_id.in_(ids), Shard.state.in_(OPEN))
    session.execute(shards.values(state=JobState.CANCELLED), execution_options=BLIND)


def _end_intake(table: Any) -> Callable[[Session, Ids], None]:
    def end(session: Session, ids: Ids) -> None:
        rows = update(table).where(table.id.in_(ids), table.state == IntakeState.VALIDATING)
        session.execute(rows.values(state=IntakeState.REJECTED, finished_at=now()), execution_options=BLIND)

    return end


BLIND = {"synchronize_session": False}  # of statements: nothing of these rows is looked at again
KINDS: dict[str, Kind] = {
    UPLOAD: Kind("upload", Upload, needs={}, blobs=lambda row: [row.sha256]),
    MODEL: Kind(
        "model",
        Model,
        needs={UPLOAD: _of_uploads},
        end=_end_intake(Model),
        gone=lambda: {Model.fingerprint: Model.id},
    ),
    DATASET: Kind(
        "data set",
        Dataset,
        needs={UPLOAD: Dataset.upload_id.in_},
        end=_end_intake(Dataset),
        gone=lambda: {Dataset.fingerprint: Dataset.id},
        blobs=lambda row: [(row.summary or {}).get(name) for name in ("x_blob", "y_blob")],
    ),
    BATCH: Kind("batch", Batch, needs={}, gone=lambda: {Batch.fingerprint: Batch.id}),
    CERTIFICATION: Kind(
        "certification",
        Certification,
        needs={
            MODEL: lambda ids: or_(Certification.model_id.in_(ids), Certification.denoiser_model_id.in_(ids)),
            DATASET: Certification.dataset_id.in_,
            BATCH: Certification.batch_id.in_,  # which goes before them, and is nothing without them
        },
        end=_end_certifications,
    ),
}
"""By the prefix of their ids, each behind what it needs. To add one: an entry, and a call in app.routes.deletion."""


def lock(session: Session, prefix: str, ids: Ids, *, wait: bool = True) -> list[str]:
    """Those of the rows that are there, kept from changing, and from being needed by anything new, until the
    transaction ends; ``wait`` false: without those that others have locked."""
    table, found = KINDS[prefix].table, list[str]()
    if prefix == CERTIFICATION and wait and (batches := _batches(session, ids)):
        lock(session, BATCH, batches)
    # A worker holds a shard and its key to the certification at once. It needs no keeping off: who deletes ends both.
    shared = {"key_share": prefix == CERTIFICATION, "skip_locked": not wait, "of": table}
    for some in parts(sorted(ids)):
        query = select(table.id).where(table.id.in_(some), table.tenant != GONE).order_by(table.id)
        found += session.scalars(query.with_for_update(**shared))
    return found


def needing(session: Session, prefix: str, ids: Ids, *, locked: bool = False) -> dict[str, list[str]]:
    """What needs those rows, by prefix, and what needs that in turn; ``locked``: kept from changing."""
    found: dict[str, list[str]] = {prefix: list(ids)}
    for other, kind in KINDS.items():
        own: set[str] = set()
        for needed, condition in kind.needs.items():
            for some in parts(found.get(needed, ())):
                own |= set(session.scalars(select(kind.table.id).where(condition(some), kind.table.tenant != GONE)))
        if own:
            found[other] = lock(session, other, list(own)) if locked else sorted(own)
    if prefix != BATCH and (batches := _batches(session, found.get(CERTIFICATION, ()))):
        found[BATCH] = batches  # locked with them
    del found[prefix]
    return {other: rows for other, rows in found.items() if rows}


def _batches(session: Session, ids: Ids) -> list[str]:
    """The batches that those certifications are part of."""
    found: set[str] = set()
    for some in parts(ids):
        query = select(Batch.id).join(Certification, Certification.batch_id == Batch.id)
        found |= set(session.scalars(query.where(Certification.id.in_(some), Batch.tenant != GONE)))
    return sorted(found)


def unneeded(prefix: str, *, by_gone: bool = False) -> list[ColumnElement[bool]]:
    """Conditions for rows of that kind that no row needs; with ``by_gone`` not even one that was deleted."""
    needy = [(kind.table, kind.needs[prefix]) for kind in KINDS.values() if prefix in kind.needs]
    own = [KINDS[prefix].table.id]
    return [
        ~exists(select(table.id).where(condition(own), *([] if by_gone else [table.tenant != GONE])))
        for table, condition in needy
    ]


def bury(session: Session, prefix: str, ids: Ids) -> None:
    """Those (locked) rows are nobody's from now on. What is under way about them ends."""
    kind = KINDS[prefix]
    for some in parts(ids):
        kind.end(session, some)
        rows = update(kind.table).where(kind.table.id.in_(some))
        session.execute(rows.values({kind.table.tenant: GONE} | kind.gone()), execution_options=BLIND)


def remove(session: Session, *, rows: int) -> int:
    """Take up to ``rows`` rows of what is nobody's out of the tables, what needs another before it; how many."""
    for prefix, kind in reversed(KINDS.items()):
        of_nobody = select(kind.table).where(kind.table.tenant == GONE, *unneeded(prefix, by_gone=True))
        of_nobody = of_nobody.order_by(kind.table.id)
        row = session.scalar(of_nobody.limit(1).with_for_update(of=kind.table, skip_locked=True))
        if row is None:
            continue
        if kind.table is Certification and (removed := _remove_parts(session, row.id, rows)):
            return removed
        if any(session.scalar(_remains(prefix, row.id)) for prefix in KINDS):
            continue  # what needs it is being removed by another worker
        loose_blobs.let_go(session, [sha256 for sha256 in kind.blobs(row) if sha256])
        session.execute(delete(kind.table).where(kind.table.id == row.id), execution_options=BLIND)
        return 1
    return 0


def _remains(prefix: str, row_id: str) -> Any:
    """Whether a row of that kind needs the row, be it one that was deleted."""
    kind, needed = KINDS[prefix], row_id.partition("_")[0]
    condition = kind.needs.get(needed)
    needs_it = [] if condition is None else [condition([row_id])]
    return select(kind.table.id).where(*needs_it or [kind.table.id.in_([])]).limit(1)


def _remove_parts(session: Session, certification_id: str, rows: int) -> int:
    """Remove up to ``rows`` rows that go with a certification; how many."""
    for mapper in Base.registry.mappers:
        table: Any = mapper.class_
        if issubclass(table, OfCertification):
            key = [column for column in mapper.primary_key if column.name != "certification_id"]
            of_this = table.certification_id == certification_id
            if not key:
                continue  # one row, which goes with it
            some = select(*key).where(of_this).limit(rows)
            done = session.execute(delete(table).where(of_this, tuple_(*key).in_(some)), execution_options=BLIND)
            if removed := int(getattr(done, "rowcount", 0)):
                return removed
    return 0
