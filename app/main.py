"""The application: ``uvicorn app.main:create_app --factory``."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI
from prometheus_client import CollectorRegistry

from app import auth, errors
from app.database import TenantDatabase
from app.kept import Shelf
from app.metrics import HTTP, FromDatabase
from app.middleware import BodyLimit, HeadAsGet, PlainBody
from app.negotiation import acceptable
from app.observed import Observed, Routed, templates
from app.parameters import known_only
from app.polls import Polls
from app.ringer import Ringer
from app.routes import (
    batches,
    capabilities,
    certifications,
    datasets,
    deletion,
    health,
    keys,
    metrics,
    models,
    new_certification,
    problem_pages,
    reports,
    results,
    uploads,
    workers,
)
from app.service import Service
from app.watch import Watch
from models import logs, tracing
from models.bell import celery_app, celery_ring
from models.blob_stores import stored
from models.database import Database
from models.news import redis_url, teller
from models.settings import Settings, from_environment
from radii import __version__

DESCRIPTION = """
How far can this input move before the model's answer may change? Upload a network (ONNX) and inputs (.npz), start a
certification, follow it, and read a certified radius for each input and the certified-accuracy curve.

Every error is a problem document (RFC 9457) whose `type` is [a page](/problems) that explains it.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The API on ``settings`` (default: ``RADII_*`` variables). The database must be bootstrapped."""
    settings = settings or from_environment()
    logs.configure(settings.log_level, settings.log_format)
    tracing.configure("radii-api")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # /readyz asks it each time
    ringer = Ringer(celery_ring(celery_app(settings)), teller(settings))
    database = TenantDatabase(Database(settings.database, ring=ringer, tell=ringer.tell))
    watch = Watch(database.ended, redis_url(settings))
    service = Service(
        settings=settings,
        database=database,
        blobs=stored(settings, announce=database.announce, confirm=database.confirm),
        shelf=Shelf(),
        watch=watch,
        operators=capabilities.operators(),
    )

    ringer.told = watch.wake

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        listening = asyncio.create_task(watch.listen())
        yield
        listening.cancel()
        ringer.close()
        service.database.close()
        tracing.close()

    app = FastAPI(
        title="radii",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        telemetry={"auto_configure": False, "metrics": False, "logs": False, "operation_spans": False},
        redirect_slashes=False,
        responses=errors.RESPONSES,
    )
    app.state.service = service
    app.state.figures = CollectorRegistry()
    app.state.figures.register(HTTP)
    app.state.figures.register(FromDatabase(service.database.figures))
    errors.install(app)
    app.add_middleware(Routed)
    app.add_middleware(Polls, service=service)
    app.add_middleware(BodyLimit, streamed=frozenset({"/v1/uploads"}))
    app.add_middleware(PlainBody)
    app.add_middleware(HeadAsGet)
    app.add_middleware(Observed)  # the last one added is the outermost
    every = (auth.authenticated, known_only, acceptable)
    v1 = APIRouter(prefix="/v1", dependencies=[Depends(check) for check in every])
    for noun in (
        uploads,
        models,
        datasets,
        new_certification,
        certifications,
        results,
        reports,
        batches,
        keys,
        workers,
        capabilities,
        deletion,
    ):
        v1.include_router(noun.router)
    for router in (v1, health.router, metrics.router, problem_pages.router):
        app.include_router(router)
    app.state.templates = templates(app)
    return app
