"""What the endpoints work with: one object, made by ``create_app``, handed to them as a dependency."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from app.database import TenantDatabase
from app.kept import Shelf
from app.watch import Watch
from models.blobs import Blobs
from models.settings import Settings
from models.storage import require


@dataclass(frozen=True)
class Service:
    """Settings, database and blobs of this process."""

    settings: Settings
    database: TenantDatabase
    blobs: Blobs
    shelf: Shelf
    watch: Watch
    operators: list[dict[str, Any]]  # the ONNX operators that are read, from radii/operators.json


async def _of(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


InService = Annotated[Service, Depends(_of)]


def _room(service: InService) -> None:
    require(service.settings.data_dir)


NEEDS_ROOM = [Depends(_room)]  # of a call that makes something: refused (storage-full) while there is no space for it
