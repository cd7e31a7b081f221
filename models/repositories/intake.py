"""Models and data sets: registered as validating, then ready or rejected."""

import hashlib
import json
from collections.abc import Collection
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models.base import Json, now
from models.bell import Bell
from models.database import ring_after_commit, tell_after_commit
from models.ids import DATASET, MODEL, new_id
from models.repositories import uploads
from models.repositories.leases import Claim, held
from models.states import IntakeState, guard
from models.tables import Dataset, Model, Upload
from models.tenant_session import TenantSession

Intaken = TypeVar("Intaken", Model, Dataset)


def fingerprint(*parts: Any) -> str:
    """sha256 over the canonical JSON of ``parts``."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _mark(tenant: str, *parts: Any) -> str:
    """What a row is known by: two tenants who send the same bytes get a row each, of which neither tells the other."""
    return f"{tenant}:{fingerprint(*parts)}"


def add_model(
    session: Session, upload: Upload, *, name: str, settings: Json, external: dict[str, Upload]
) -> tuple[Model, bool]:
    """The model of these bytes and settings, and whether it is new. The same question twice is the same model. It
    belongs to whom the upload does."""
    external_data = {key: value.id for key, value in sorted(external.items())}
    external_digests = {key: value.sha256 for key, value in external.items()}
    row = Model(
        id=new_id(MODEL),
        tenant=upload.tenant,
        name=name,
        upload=upload,
        settings={**settings, "external_data": external_data},
        fingerprint=_mark(upload.tenant, upload.sha256, settings, external_digests),
    )
    return _add(session, row, "model")


def add_dataset(session: Session, upload: Upload, *, name: str) -> tuple[Dataset, bool]:
    """The data set of these bytes, and whether it is new. It belongs to whom the upload does."""
    return _add(session, _dataset(upload, name=name), "dataset")


def add_read_dataset(session: Session, tenant: str, *, sha256: str, size: int, name: str, summary: Json) -> Dataset:
    """The tenant's data set of these bytes, ready if it is new: whoever wrote them knows what is in them."""
    same = Dataset.fingerprint == _mark(tenant, sha256)
    if (found := session.scalar(select(Dataset).where(same).with_for_update(**uploads.SHARED, of=Dataset))) is not None:
        return found
    upload = uploads.add(session, tenant, sha256=sha256, size=size)
    read = {"state": IntakeState.READY, "summary": summary, "finished_at": now()}
    return _add(session, _dataset(upload, name=name, **read), "dataset")[0]


def _dataset(upload: Upload, **values: Any) -> Dataset:
    own = {"tenant": upload.tenant, "fingerprint": _mark(upload.tenant, upload.sha256)}
    return Dataset(id=new_id(DATASET), upload=upload, **own, **values)


def _add(session: Session, row: Intaken, noun: str) -> tuple[Intaken, bool]:
    table = type(row)
    same = select(table).where(table.fingerprint == row.fingerprint)
    if found := session.scalar(same):
        return found, False
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:  # another request was first, a moment ago
        return session.scalars(same).one(), False
    if row.state is IntakeState.VALIDATING:
        ring_after_commit(session, Bell(noun, row.id))
    return row, True


def get(session: TenantSession, table: type[Intaken], row_id: str, *, lock: bool = False) -> Intaken | None:
    """The model or data set, if there is one of that id; ``lock``: nobody deletes it until the transaction ends."""
    return session.get(table, row_id, with_for_update=uploads.SHARED | {"of": table} if lock else None)


def named(session: TenantSession, table: type[Intaken], row_ids: Collection[str]) -> dict[str, Intaken]:
    """Those of these models or data sets that there are, by their ids; nobody deletes one before the transaction
    ends."""
    query = select(table).where(table.id.in_(row_ids)).order_by(table.id)
    return {row.id: row for row in session.scalars(query.with_for_update(**uploads.SHARED, of=table))}


def accept(session: Session, claim: Claim, summary: Json) -> None:
    """Intake found it good. Raises ``LostClaim``."""
    _end(session, claim, IntakeState.READY, summary=summary)


def reject(session: Session, claim: Claim, problem: Json) -> None:
    """Intake found it bad, and ``problem`` says why. Raises ``LostClaim``."""
    _end(session, claim, IntakeState.REJECTED, problem=problem)


def _end(
    session: Session,
    claim: Claim,
    state: IntakeState,
    *,
    summary: Json | None = None,
    problem: Json | None = None,
) -> None:
    row = held(session, claim)
    if not isinstance(row, (Model, Dataset)):
        raise TypeError(f"{claim.noun} has no intake")
    row.state = IntakeState(guard(row.state, state))
    row.summary, row.problem, row.finished_at, row.lease_expires_at = summary, problem, now(), None
    tell_after_commit(session, row.id)
    if state is IntakeState.REJECTED:  # the same bytes may be fine tomorrow: a limit raised, an operator learnt
        distrust(row)


def distrust(row: Model | Dataset) -> None:
    """Have the same bytes taken in anew when they are sent again."""
    if not row.fingerprint.endswith(row.id):
        row.fingerprint = f"{row.fingerprint}:{row.id}"
