"""Intake: has a stranger's file read in a sandbox, and writes down what became of it."""

import tempfile
import time
from functools import partial
from pathlib import Path

from sqlalchemy.orm import Session

from models import storage
from models.blobs import Blobs, BlobsAway
from models.problems import Problem
from models.repositories import intake, loose_blobs
from models.repositories.leases import Claim, held
from models.repositories.shards import external_blobs
from models.storage import StorageFull
from models.tables import Dataset, Model
from models.types import Json
from workers.blob_checks import check_files
from workers.causes import Lost
from workers.intake.sandbox import Sandbox
from workers.runner.process import Ended
from workers.worker import Worker

TRIES = 2  # of reading what didn't fit: once it may have been somebody else, whose file is gone since


def take_in(worker: Worker, claim: Claim) -> None:
    """Read the upload of the claimed model or data set, and accept or reject it. Raises what stops it: ``LostClaim``,
    ``LetGo``, ``Failed``, ``Lost``, and what nobody foresaw."""
    files, order = worker.write(partial(_order, claim=claim, worker=worker))
    check_files(worker, claim, Problem.MODEL_UNREADABLE if claim.noun == "model" else Problem.DATA_UNREADABLE, files)
    answer = _answer(worker, claim, order)
    if "problem" in answer:
        _there(worker)
    worker.write(partial(_end, blobs=worker.blobs, claim=claim, answer=answer))


def _there(worker: Worker) -> None:
    """Raises ``Lost`` where what seems wrong with an upload may be that the blob store went away while it was read: the
    next attempt waits for that."""
    try:
        worker.blobs.confirm(worker.blobs)
    except BlobsAway as away:
        raise Lost(Problem.FILE_MISSING.document(f"While it was read: {away}."), "reading the upload") from away


def _end(session: Session, blobs: Blobs, claim: Claim, answer: Json) -> None:
    """Write down what became of the row. Raises ``LostClaim``, and ``Lost`` if what it names is gone."""
    if summary := answer.get("summary"):
        _hold(session, blobs, [summary[name] for name in ("x_blob", "y_blob") if summary.get(name)])
        intake.accept(session, claim, summary)
    else:
        intake.reject(session, claim, answer["problem"])


def _hold(session: Session, blobs: Blobs, digests: list[str]) -> None:
    """Keep blobs that are about to be named from being collected: a database that was away for long may have had time
    for that. Raises ``Lost`` if it had."""
    for sha256 in sorted(set(digests)):
        loose_blobs.announce(session, sha256)
        if blobs.written_at(sha256) is None:
            gone = "What was read of the upload was removed before it was noted."
            raise Lost(Problem.FILE_MISSING.document(gone), "noting what was read")


def _answer(worker: Worker, claim: Claim, order: Json) -> Json:
    """What reading the upload came to. While others fill the disk it waits; what doesn't fit where there is room again
    is too large. Raises ``Lost`` if it crashed."""
    failures = 0
    while failures < TRIES:
        try:
            with storage.reported(), tempfile.TemporaryDirectory(dir=worker.blobs.drafts) as folder:
                answer = _read(worker, claim, Path(folder), order)
                summary = answer.get("summary")
                if summary and claim.noun == "dataset":
                    worker.renew(claim)  # hashing gigabytes takes a while
                    answer = {"summary": _keep(worker, claim, Path(folder), summary)}
                return answer
        except StorageFull:
            if storage.room(worker.blobs.root):
                failures += 1
            else:
                worker.wait_for_room(claim, worker.blobs.root)
    detail = "Unpacked, it takes more space than is free where the service keeps its data (DATA_DIR)."
    return {"problem": Problem.STORAGE_FULL.document(detail)}


def _order(session: Session, claim: Claim, worker: Worker) -> tuple[dict[str, str], Json]:
    """The blobs, by what they are called, and what the sandbox is to read. Raises ``LostClaim``."""
    row, path = held(session, claim), worker.blobs.path
    external: dict[str, str] = {}
    if isinstance(row, Model):
        external = external_blobs(session, row)
        beside = {name: str(path(sha256)) for name, sha256 in external.items()}
        what: Json = {"settings": row.settings, "external_data": beside}
    elif isinstance(row, Dataset):
        what = {"max_dataset_bytes": worker.settings.max_dataset_bytes}
    else:
        raise TypeError(f"{claim.noun} has no intake")
    files = {"the upload": row.upload.sha256} | {f"its {name}": sha256 for name, sha256 in external.items()}
    return files, {"noun": claim.noun, "file": str(path(row.upload.sha256)), **what}


def _read(worker: Worker, claim: Claim, folder: Path, order: Json) -> Json:
    """The sandbox's answer. Keeps the lease meanwhile. Raises ``Lost`` if it crashed."""
    child = Sandbox(folder, order, worker.settings)
    late = False
    try:
        renewal = time.monotonic()
        while not late:
            renewal += worker.settings.lease_seconds / 3
            if worker.wait(child.inbox, min(renewal, child.deadline)) is Ended:
                break
            worker.renew(claim)
            late = time.monotonic() >= child.deadline
    finally:
        child.kill()
    return child.answer(late=late)


def _keep(worker: Worker, claim: Claim, folder: Path, summary: Json) -> Json:
    """The summary, with the arrays that the sandbox wrote moved into the blob store."""
    adopt = worker.blobs.adopt
    x = worker.store(claim, partial(adopt, folder / "x.npy"))
    y = worker.store(claim, partial(adopt, folder / "y.npy")) if summary["labels"] is not None else None
    return {**summary, "digest": intake.fingerprint(x, y), "x_blob": x, "y_blob": y}
