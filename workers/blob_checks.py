"""Stored files, compared with the digests that they are kept by before anything reads them."""

from collections.abc import Mapping
from functools import partial

from models.blobs import BlobDamaged, BlobMissing
from models.problems import Problem
from models.repositories.leases import Claim
from models.repositories.shards import Network
from workers.causes import Failed
from workers.worker import Worker


def check_files(worker: Worker, claim: Claim, damaged: Problem, files: Mapping[str, str]) -> None:
    """Each of the files, by what it is called, is here and has its digest. Keeps the lease, for fetching and hashing
    gigabytes takes a while. Raises ``Failed``, ``LostClaim`` and ``LetGo``."""
    verified = partial(worker.blobs.verified, alive=worker.renewal(claim))
    for name, sha256 in files.items():
        where = f"the file of {name} ({worker.blobs.where(sha256)})"
        try:
            worker.store(claim, partial(verified, sha256))
        except BlobMissing:
            raise Failed(Problem.FILE_MISSING.document(f"There is no more {where}.")) from None
        except BlobDamaged as error:
            detail = f"Since it was written, {where} was cut short or changed: {error}."
            raise Failed(damaged.document(detail)) from error


def files_of(network: Network, what: str) -> dict[str, str]:
    """The files of a network, which is called ``what``."""
    return {what: network.sha256} | {f"{what}, {name}": sha256 for name, sha256 in network.external_data.items()}
