"""What the endpoints work with: one object, made by ``create_app``, handed to them as a dependency."""

from dataclasses import dataclass
from typing import Annotated, Any

from celery import Celery
from fastapi import Depends, Request

from models.blobs import Blobs
from models.database import Database
from models.settings import Settings


@dataclass(frozen=True)
class Service:
    """Settings, database, blobs and broker of this process."""

    settings: Settings
    database: Database
    blobs: Blobs
    celery: Celery
    operators: list[dict[str, Any]]  # the ONNX operators that are read, from radii/operators.json


def _of(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


InService = Annotated[Service, Depends(_of)]
