"""A certification is ended once all its shards have."""

from functools import partial

from sqlalchemy.orm import Session

from models.repositories import certifications
from models.repositories.leases import Claim
from models.tables import Certification
from models.types import Json
from workers.worker import Worker


def end(worker: Worker, claim: Claim) -> None:
    """End the claimed certification, whose shards have ended. Raises ``LostClaim`` and ``LetGo``."""
    concluded = worker.read(partial(_conclusion, claim=claim))
    worker.write(partial(certifications.end, claim=claim, concluded=concluded))


def _conclusion(session: Session, claim: Claim) -> Json:
    """The summary, made where nobody waits for a lock: no more results come."""
    return certifications.conclusion(session, session.get_one(Certification, claim.id))
