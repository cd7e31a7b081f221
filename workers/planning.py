"""What a certification needs besides computing: it is cut into shards, and ended once all of them have."""

import logging
from functools import partial

from models.repositories import certifications
from models.repositories.leases import Claim, LostClaim
from workers.desk import Desk, LetGo

log = logging.getLogger(__name__)

SHARDS = 1000  # cut in one transaction


def plan_or_end(desk: Desk, claim: Claim) -> str | None:
    """Plan the claimed certification, or end it if its shards have; the first shard of those that were cut."""
    try:
        with desk.database.read() as session:
            row = certifications.get(session, claim.id)
            if row is None:
                return None
            # No more results come: their sums are made where nobody waits for a lock.
            figures = None if row.unplanned else certifications.conclusion(session, row)
        if figures is not None:
            desk.write(partial(certifications.end, claim=claim, figures=figures))
            return None
        plan = partial(certifications.plan, claim=claim, shards=SHARDS, seconds=desk.settings.lease_seconds)
        first, more = None, True
        while more:
            cut = desk.write(plan)
            first, more = first or next(iter(cut), None), len(cut) == SHARDS
        return first
    except LostClaim:
        log.info("%s: cancelled, or taken over by another worker", claim.id)
    except LetGo:
        desk.give_back(claim)
    return None
