"""One attempt at a claimed row. What goes wrong in it, the row knows: its problem, or why another follows."""

import logging
from collections.abc import Callable

from sqlalchemy.exc import DBAPIError

from models.base import Json
from models.bell import Bell
from models.problems import Problem
from models.repositories.chunks import CountsMismatch
from models.repositories.leases import Claim, LostClaim
from workers.causes import Failed, ForOthers, Lost, first_line, problem_of
from workers.logs import about
from workers.worker import LetGo, Worker

log = logging.getLogger(__name__)


def attempt(worker: Worker, claim: Claim, work: Callable[[Worker, Claim], Bell | None]) -> Bell | None:
    """Have ``work`` done; what it leads to. An error fails the row at once, since it would recur; a process that is
    gone costs an attempt, a shutdown none."""
    with about(claim.log_id):
        try:
            return _settled(worker, claim, work)
        except LostClaim:
            log.info("cancelled, or taken over by another worker")
        except LetGo:
            worker.give_back(claim)
            log.info("given back")
        except ForOthers as error:
            worker.give_back(claim)
            log.warning("left to workers of a later version: %s", error)
        except SystemExit:  # SIGTERM to this very process
            worker.give_back(claim)
            raise
    return None


def _settled(worker: Worker, claim: Claim, work: Callable[[Worker, Claim], Bell | None]) -> Bell | None:
    try:
        log.info("begun by %s", worker.name)
        bell = work(worker, claim)
        log.info("done")
        return bell
    except (LostClaim, LetGo, ForOthers):
        raise
    except Lost as lost:
        log.error("%s", lost)
        worker.lost(claim, lost.document)
    except Failed as failed:
        log.error("%s", failed)
        worker.fail(claim, failed.document)
    except Exception as error:
        log.exception("failed")
        worker.fail(claim, _problem(error))
    return None


def _problem(error: Exception) -> Json:
    if isinstance(error, CountsMismatch):
        return Problem.COUNTS_MISMATCH.document(f"{error}.")
    if isinstance(error, DBAPIError):  # its own text has the whole statement
        return Problem.INTERNAL_ERROR.document(f"The database refused: {first_line(error.orig or error)}.")
    return problem_of(error)
