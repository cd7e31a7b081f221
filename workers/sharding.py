"""A certification is cut into shards, and ended once all of them have."""

from functools import partial

from sqlalchemy.orm import Session

from models.base import Json
from models.bell import Bell
from models.repositories import certifications
from models.repositories.leases import Claim
from models.tables import Certification
from workers.worker import Worker

MOST = 1000  # shards cut in one transaction


def shard_or_end(worker: Worker, claim: Claim) -> Bell | None:
    """End the claimed certification if its shards have, or cut it into them, of which the first is next. Raises
    ``LostClaim`` and ``LetGo``."""
    concluded = worker.read(partial(_conclusion, claim=claim))
    if concluded is not None:
        worker.write(partial(certifications.end, claim=claim, concluded=concluded))
        return None
    some = partial(certifications.cut, claim=claim, shards=MOST, seconds=worker.settings.lease_seconds)
    first = ids = worker.write(some)
    while len(ids) == MOST:
        ids = worker.write(some)
    return Bell("shard", first[0]) if first else None


def _conclusion(session: Session, claim: Claim) -> Json | None:
    """The summary of a certification whose shards have ended, made where nobody waits for a lock: no more results come.
    None if it is not cut yet."""
    row = session.get_one(Certification, claim.id)
    return None if row.unsharded else certifications.conclusion(session, row)
