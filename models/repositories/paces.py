"""How fast kinds of device are, as measured: what shards are cut by."""

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from models.base import now
from models.database import insert
from models.tables import Certification, Pace

AS_BEFORE = 0.2  # a pace that differs by less is not written anew
FRESH = 0.5  # weight of the newest measurement: machines of a kind differ, and so do inputs


def known(session: Session, certification: Certification, device: str | None) -> float | None:
    """Units of progress a second, of this network and kind of method on such a device; None where nobody measured."""
    if device is None:
        return None
    per_second: float | None = session.connection().scalar(KNOWN, _key(certification, device))
    return per_second


def learn(session: Session, certification: Certification, device: str, per_second: float) -> None:
    """Keep what was measured, half and half with what was known."""
    before = known(session, certification, device)
    if before is not None and abs(per_second - before) <= AS_BEFORE * before:
        return
    pace = per_second if before is None else FRESH * per_second + (1 - FRESH) * before
    of_it = _key(certification, device)
    said = {"per_second": pace, "measured_at": now()}
    new = insert(session, Pace).values(tenant=certification.tenant, **of_it, **said)
    session.execute(new.on_conflict_do_update(index_elements=list(of_it), set_=said))


def _key(certification: Certification, device: str) -> dict[str, str]:
    return {
        "model_id": certification.model_id,
        "denoiser_model_id": certification.denoiser_model_id or "",
        "method": certification.method["kind"],
        "device": device,
    }


PACES = Pace.metadata.tables[Pace.__tablename__]
KNOWN = select(PACES.c.per_second).where(*(column == bindparam(column.name) for column in PACES.primary_key))
