"""Is the process up, and can it do its work? Both without a key, for load balancers and ``radii up``."""

import logging
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from kombu.exceptions import OperationalError

from app.errors import Refusal
from app.service import InService, Service
from models.problems import Problem
from models.storage import StorageFull, require

log = logging.getLogger(__name__)

router = APIRouter(tags=["service"])


@router.get("/livez", summary="The process is up")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="Database, broker and blob store can be used, and there is space")
def readyz(service: InService) -> dict[str, Any]:
    """200; 503 with what each part says; or 507 where nothing but space is missing: reads are answered then, and what
    needs space is refused."""
    parts = {check.__name__: _said(check, service) for check in (database, broker, blobs, storage)}
    down = {name: said for name, said in parts.items() if said != "ok"}
    if down:
        problem = Problem.STORAGE_FULL if down.keys() == {"storage"} else Problem.UNAVAILABLE
        detail = ", ".join(f"{name}: {said}" for name, said in down.items())
        raise Refusal(problem, detail, headers={"Retry-After": "5"}, parts=parts)
    return {"status": "ok", "parts": parts}


def database(service: Service) -> str:
    """Reachable, and at the newest migration."""
    return "ok" if service.database.migrated() else "not migrated; run python -m models.bootstrap"


def broker(service: Service) -> str:
    """Answers within a second or two, and takes messages."""
    with service.celery.connection_for_write() as connection:
        try:
            connection.ensure_connection(max_retries=0, timeout=1)
        except OperationalError as error:
            if isinstance(error.__cause__, connection.channel_errors):
                return "refuses messages; its log says why (mostly a full disk)"
            raise
    return "ok"


def blobs(service: Service) -> str:
    """The store answers, and its folder here can be written."""
    return service.blobs.check()


def storage(service: Service) -> str:
    """The file system of the data folder has more than the reserve left."""
    try:
        require(service.settings.data_dir)
    except StorageFull as full:
        return str(full)
    return "ok"


def _said(check: Callable[[Service], str], service: Service) -> str:
    try:
        return check(service)
    except Exception:  # whatever it is, this part is not ready; URLs in the message may hold passwords
        log.exception("%s is not ready", check.__name__)
        return "not reachable"
