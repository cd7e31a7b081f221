"""Intake: has a stranger's file read in a sandbox, and writes down what became of it."""

import tempfile
import time
from functools import partial
from pathlib import Path

from sqlalchemy.orm import Session

from models import storage
from models.base import Json
from models.blobs import Blobs
from models.problems import Problem
from models.repositories import intake
from models.repositories.leases import Claim, held
from models.repositories.shards import external_blobs
from models.storage import StorageFull
from models.tables import Dataset, Model
from workers.blob_checks import check_files
from workers.intake.sandbox import Sandbox
from workers.runner.process import Ended
from workers.worker import Desk

TRIES = 2  # of reading what didn't fit: once it may have been somebody else, whose file is gone since


def take_in(desk: Desk, claim: Claim) -> None:
    """Read the upload of the claimed model or data set, and accept or reject it. Raises what stops it: ``LostClaim``,
    ``LetGo``, ``Failed``, ``Lost``, and what nobody foresaw."""
    files, order = desk.write(partial(_order, claim=claim, desk=desk))
    check_files(desk, claim, Problem.MODEL_UNREADABLE if claim.noun == "model" else Problem.DATA_UNREADABLE, files)
    desk.write(partial(_end, claim=claim, answer=_answer(desk, claim, order)))


def _end(session: Session, claim: Claim, answer: Json) -> None:
    """Write down what became of the row."""
    if summary := answer.get("summary"):
        intake.accept(session, claim, summary)
    else:
        intake.reject(session, claim, answer["problem"])


def _answer(desk: Desk, claim: Claim, order: Json) -> Json:
    """What reading the upload came to. While others fill the disk it waits; what doesn't fit where there is room again
    is too large. Raises ``Lost`` if it crashed."""
    failures = 0
    while failures < TRIES:
        try:
            with storage.reported(), tempfile.TemporaryDirectory(dir=desk.blobs.drafts) as folder:
                answer = _read(desk, claim, Path(folder), order)
                summary = answer.get("summary")
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


def _order(session: Session, claim: Claim, desk: Desk) -> tuple[dict[str, str], Json]:
    """The blobs, by what they are called, and what the sandbox is to read. Raises ``LostClaim``."""
    row, path = held(session, claim), desk.blobs.path
    external: dict[str, str] = {}
    if isinstance(row, Model):
        external = external_blobs(session, row)
        beside = {name: str(path(sha256)) for name, sha256 in external.items()}
        what: Json = {"settings": row.settings, "external_data": beside}
    elif isinstance(row, Dataset):
        what = {"max_dataset_bytes": desk.settings.max_dataset_bytes}
    else:
        raise TypeError(f"{claim.noun} has no intake")
    files = {"the upload": row.upload.sha256} | {f"its {name}": sha256 for name, sha256 in external.items()}
    return files, {"noun": claim.noun, "file": str(path(row.upload.sha256)), **what}


def _read(desk: Desk, claim: Claim, folder: Path, order: Json) -> Json:
    """The sandbox's answer. Keeps the lease meanwhile. Raises ``Lost`` if it crashed."""
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
