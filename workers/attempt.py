"""One attempt at a claimed row. What goes wrong in it, the row knows: its problem, or why another follows."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from models.bell import Bell
from models.blobs import BlobMissing, BlobsAway
from models.logs import about
from models.problems import Problem
from models.repositories.chunks import CountsMismatch
from models.repositories.leases import Claim, LostClaim
from models.tracing import span
from models.types import Json
from workers.causes import Blamed, Failed, ForOthers, Lost, first_line, problem_of
from workers.worker import LetGo, Worker

log = logging.getLogger(__name__)


@contextmanager
def named(claim: Claim) -> Iterator[None]:
    """Lines of the log and the trace say what the block is about."""
    with about(claim.log_id), span(claim.noun, id=claim.id, job=claim.job, fence=claim.fence):
        yield


def attempt(worker: Worker, claim: Claim, work: Callable[[Worker, Claim], Bell | None]) -> Bell | None:
    """Have ``work`` done; what it leads to. An error fails the row at once, since it would recur; a process that is
    gone costs an attempt, a shutdown none."""
    with named(claim):
        worker.activity.begin(claim)
        outcome = "given_back"
        try:
            outcome, bell = _settled(worker, claim, work)
            return bell
        except LostClaim:
            log.info("cancelled, or taken over by another worker")
            outcome = "taken"
        except LetGo:
            worker.give_back(claim)
            log.info("given back")
        except ForOthers as error:
            worker.give_back(claim, rest=worker.settings.lease_seconds)  # else it would be next again, for ever
            log.warning("left to workers of a later version: %s", error)
        except SystemExit:  # SIGTERM to this very process
            worker.give_back(claim)
            raise
        finally:
            worker.activity.end(outcome)
    return None


def _settled(worker: Worker, claim: Claim, work: Callable[[Worker, Claim], Bell | None]) -> tuple[str, Bell | None]:
    """How it ended, in a word of ``models.metrics.ATTEMPTS``; and what it leads to."""
    try:
        log.info("begun by %s", worker.name)
        bell = work(worker, claim)
        log.info("done")
        return "done", bell
    except (LostClaim, LetGo, ForOthers):
        raise
    except Blamed as lost:
        log.error("%s", lost)
        return "lost", lost.then
    except Lost as lost:
        log.error("%s", lost)
        worker.lost(claim, lost.document)
        return "lost", None
    except Failed as failed:
        log.error("%s", failed)
        worker.fail(claim, failed.document)
    except Exception as error:
        if _vanished(worker, error):  # the next attempt waits for the store, or finds out that only that file is gone
            log.error("a stored file vanished amid the work: %s", first_line(error))
            worker.lost(claim, Problem.FILE_MISSING.document(f"It vanished amid the work: {first_line(error)}."))
            return "lost", None
        log.exception("failed")
        worker.fail(claim, _problem(error))
    return "failed", None


def _vanished(worker: Worker, error: Exception) -> bool:
    """Whether the blob store went away, or a file of it, after it was found to be whole."""
    if isinstance(error, FileNotFoundError):
        return Path(str(error.filename)).is_relative_to(worker.blobs.root)
    return isinstance(error, BlobsAway | BlobMissing)


def _problem(error: Exception) -> Json:
    if isinstance(error, CountsMismatch):
        return Problem.COUNTS_MISMATCH.document(f"{error}.")
    if isinstance(error, DBAPIError):  # its own text has the whole statement
        return Problem.INTERNAL_ERROR.document(f"The database refused: {first_line(error.orig or error)}.")
    return problem_of(error)
