"""Is the process up, and can it do its work? Both without a key, for load balancers and ``radii up``."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool

from app.errors import Refusal
from app.service import InService, Service
from models.broker import Away, Refused, ask
from models.problems import Problem
from models.reachable import one_line
from models.storage import StorageFull, require

log = logging.getLogger(__name__)

router = APIRouter(tags=["service"])

PATIENCE = 2.0  # seconds for all parts; a server that is frozen takes connections, and never answers


@router.get("/livez", summary="The process is up")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="Database, broker and blob store can be used, and there is space")
async def readyz(service: InService) -> dict[str, Any]:
    """200; 503 with what each part says; or 507 where nothing but space is missing: reads are answered then, and what
    needs space is refused. The answer comes within some two seconds, whatever the parts do."""
    checks = (database, broker, blobs, storage)
    asked = [asyncio.create_task(run_in_threadpool(_said, check, service)) for check in checks]
    await asyncio.wait(asked, timeout=PATIENCE)
    said = [task.result() if task.done() else "does not answer" for task in asked]
    parts = {check.__name__: words for check, words in zip(checks, said, strict=True)}
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
    """Answers within a second, and takes messages."""
    try:
        ask(service.settings.broker)
    except Refused as error:
        log.warning("the broker refuses us: %s", one_line(error))
        return "refuses us; its log says why (mostly a full disk)"
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
    except (Away, DBAPIError) as error:
        log.warning("%s is not ready: %s", check.__name__, one_line(getattr(error, "orig", None) or error))
    except Exception:  # whatever it is, this part is not ready; URLs in the message may hold passwords
        log.exception("%s is not ready", check.__name__)
    return "not reachable"
