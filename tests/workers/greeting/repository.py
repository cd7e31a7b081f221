"""What is written to a greeting."""

from sqlalchemy.orm import Session

from models.base import Json
from models.greeting.table import Greeting
from models.repositories.leases import Claim, LostClaim, held
from models.states import IntakeState, guard


def accept(session: Session, claim: Claim, words: str) -> None:
    """The claimed one is greeted. Raises ``LostClaim``."""
    row = _held(session, claim)
    row.words = words
    row.state = IntakeState(guard(row.state, IntakeState.READY))


def reject(session: Session, claim: Claim, problem: Json) -> None:
    """The claimed one can't be greeted. Raises ``LostClaim``."""
    row = _held(session, claim)
    row.problem = problem
    row.state = IntakeState(guard(row.state, IntakeState.REJECTED))


def _held(session: Session, claim: Claim) -> Greeting:
    row = held(session, claim)
    if not isinstance(row, Greeting):
        raise LostClaim(claim.id)
    return row
