"""Greets."""

from functools import partial

from models.greeting import repository
from models.repositories.leases import Claim
from workers.worker import Worker


def greet(worker: Worker, claim: Claim) -> None:
    """Greet the claimed one."""
    if claim.id == "nobody":
        raise ValueError("there is nobody to greet")
    worker.write(partial(repository.accept, claim=claim, words=f"Good morning, {claim.id}."))
