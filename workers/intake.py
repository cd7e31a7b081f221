"""Intake: has a stranger's file read in a sandbox, and writes down what became of it."""

import logging
import tempfile
import time
from functools import partial
from pathlib import Path

from sqlalchemy.orm import Session

from models import storage
from models.base import Json
from models.bell import Bell
from models.blobs import Blobs
from models.database import ring_after_commit
from models.problems import Problem
from models.repositories import intake, leases
from models.repositories.leases import Claim, LostClaim, held
from models.repositories.shards import external_blobs
from models.storage import StorageFull
from models.tables import Dataset, Model
from workers.child import Ended
from workers.desk import Desk, LetGo
from workers.sandbox import Sandbox

log = logging.getLogger(__name__)

TRIES = 2  # of reading what didn't fit: once it may have been somebody else, whose file is gone since


def take_in(desk: Desk, claim: Claim) -> None:
    """Read the upload of the claimed model or data set, and accept or reject it."""
    try:
        order = desk.write(partial(_order, claim=claim, desk=desk))
        desk.write(partial(_end, claim=claim, answer=_answer(desk, claim, order)))
    except LostClaim:
        log.info("%s %s: taken over by another worker", claim.noun, claim.id)
    except (LetGo, SystemExit) as reason:
        desk.give_back(claim)
        if isinstance(reason, SystemExit):  # SIGTERM to this very process
            raise


def _end(session: Session, claim: Claim, answer: Json | None) -> None:
    """Write down what became of the row."""
    if answer is None:
        leases.release(session, claim, blameless=False)
        ring_after_commit(session, Bell(claim.noun, claim.id))
    elif summary := answer.get("summary"):
        intake.accept(session, claim, summary)
    else:
        intake.reject(session, claim, answer["problem"])


def _answer(desk: Desk, claim: Claim, order: Json) -> Json | None:
    """What reading the upload came to; None if it crashed. While others fill the disk it waits; what doesn't fit where
    there is room again is too large."""
    failures = 0
    while failures < TRIES:
        try:
            with storage.reported(), tempfile.TemporaryDirectory(dir=desk.blobs.drafts) as folder:
                answer = _read(desk, claim, Path(folder), order)
                summary = answer and answer.get("summary")
                if summary and claim.noun == "dataset":
                    desk.renew(claim)  # hashing gigabytes takes a while
                    answer = {"summary": _keep(desk.blobs, Path(folder), summary)}
                return answer
        except StorageFull:
            if storage.room(desk.blobs.root):
                failures += 1
            else:
                desk.wait_for_room(claim, desk.blobs.root)
    detail = "Unpacked, it takes more space than is free where the service keeps its data (DATA_DIR)."
    return {"problem": Problem.STORAGE_FULL.document(detail)}


def _order(session: Session, claim: Claim, desk: Desk) -> Json:
    """What the sandbox is to read. Raises ``LostClaim``."""
    row, path = held(session, claim), desk.blobs.path
    if isinstance(row, Model):
        external = {name: str(path(sha256)) for name, sha256 in external_blobs(session, row).items()}
        what: Json = {"settings": row.settings, "external_data": external}
    elif isinstance(row, Dataset):
        what = {"max_dataset_bytes": desk.settings.max_dataset_bytes}
    else:
        raise TypeError(f"{claim.noun} has no intake")
    return {"noun": claim.noun, "file": str(path(row.upload.sha256)), **what}


def _read(desk: Desk, claim: Claim, folder: Path, order: Json) -> Json | None:
    """The sandbox's answer; None if it crashed. Keeps the lease meanwhile."""
    child = Sandbox(folder, order, desk.settings)
    late = False
    try:
        renewal = time.monotonic()
        while not late:
            renewal += desk.settings.lease_seconds / 3
            if desk.wait(child.inbox, min(renewal, child.deadline)) is Ended:
                break
            desk.renew(claim)
            late = time.monotonic() >= child.deadline
    finally:
        child.kill()
    return child.answer(late=late)


def _keep(blobs: Blobs, folder: Path, summary: Json) -> Json:
    """The summary, with the arrays that the sandbox wrote moved into the blob store."""
    x = blobs.adopt(folder / "x.npy")
    y = blobs.adopt(folder / "y.npy") if summary["labels"] is not None else None
    return {**summary, "digest": intake.fingerprint(x, y), "x_blob": x, "y_blob": y}
