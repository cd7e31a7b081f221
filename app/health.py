"""Is the process up, and can it do its work? Both without a key, for load balancers and ``radii up``."""

import logging
import os
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter

from app.errors import Refusal
from app.service import InService, Service
from models.bootstrap import migrated
from models.problems import Problem

log = logging.getLogger(__name__)

router = APIRouter(tags=["service"])


@router.get("/livez", summary="The process is up")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="Database, broker and blob store can be used")
def readyz(service: InService) -> dict[str, Any]:
    """200, or 503 with what each part says."""
    parts = {check.__name__: _said(check, service) for check in (database, broker, blobs)}
    if set(parts.values()) != {"ok"}:
        down = ", ".join(f"{name}: {said}" for name, said in parts.items() if said != "ok")
        raise Refusal(Problem.UNAVAILABLE, down, headers={"Retry-After": "5"}, parts=parts)
    return {"status": "ok", "parts": parts}


def database(service: Service) -> str:
    """Reachable, and at the newest migration."""
    with service.database.read() as session:
        return "ok" if migrated(session.connection()) else "not migrated; run python -m models.bootstrap"


def broker(service: Service) -> str:
    """Answers within a second or two."""
    with service.celery.connection_for_write() as connection:
        connection.ensure_connection(max_retries=0, timeout=1)
    return "ok"


def blobs(service: Service) -> str:
    """The folder can be written."""
    return "ok" if os.access(service.blobs.drafts, os.W_OK | os.X_OK) else "the folder can't be written"


def _said(check: Callable[[Service], str], service: Service) -> str:
    try:
        return check(service)
    except Exception:  # whatever it is, this part is not ready; URLs in the message may hold passwords
        log.exception("%s is not ready", check.__name__)
        return "not reachable"
