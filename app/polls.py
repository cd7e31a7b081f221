"""Rows that are looked at again and again: made into a representation where they have changed since the last look.

``Polls`` stands before the routes and answers what has not changed: one indexed read, which requests that come together
share, and nothing of the framework. Whatever is out of the ordinary it leaves to them.
"""

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress

from fastapi import Request, Response
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from app.database import TenantDatabase
from app.kept import Kept, kept
from app.schema import answered
from app.service import Service
from app.waiting import seen
from models.ids import PATTERN
from models.principal import Principal
from models.repositories.marks import Mark, Shown
from models.storage import StorageFull
from models.tables import Certification, Dataset, Model

Look = Callable[[], tuple[BaseModel, bool, dict[str, str]]]
"""The representation as it is now, whether it has ended, and headers that go with it. Refuses what is not there."""

SHOWN: dict[str, Shown] = {"models": Model, "datasets": Dataset, "certifications": Certification}
PATH = re.compile(rf"/v1/({'|'.join(SHOWN)})/({PATTERN.pattern[1:-1]})")
ROUTES = {noun: f"/v1/{noun}/{{{noun.removesuffix('s')}_id}}" for noun in SHOWN}
BEARER = b"Bearer "
PLAIN = (b"*/*", b"application/json")


async def polled(
    request: Request,
    service: Service,
    principal: Principal,
    table: Shown,
    row_id: str,
    wait: int | None,
    look: Look,
) -> Response:
    """The answer to a GET of the row: 304 where the client has what would be sent."""
    found = await seen(service.watch, table, row_id, wait, lambda: _look(service, principal, table, row_id, look))
    return answered(request, found)


def _look(service: Service, principal: Principal, table: Shown, row_id: str, look: Look) -> Kept:
    key = principal.tenant, table.__tablename__, row_id
    mark = service.database.marks([(principal, table, row_id)])[0] if PATTERN.fullmatch(row_id) else None
    if mark is not None and (there := service.shelf.get(key, mark)) is not None:
        return there
    resource, ended, headers = look()
    new = kept(resource, mark=mark, ended=ended, headers=headers)
    service.shelf.put(key, new)
    return new


class Polls:
    """Answers a GET of what is on the shelf, where its mark is still the same and the key was valid a moment ago."""

    def __init__(self, app: ASGIApp, *, service: Service) -> None:
        self.app, self.service = app, service
        self._marks = _Marks(service.database)
        self._keys: dict[str, asyncio.Task[Principal | None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._known(scope) if scope["type"] == "http" else None
        await (response or self.app)(scope, receive, send)

    async def _known(self, scope: Scope) -> Response | None:
        path = PATH.fullmatch(scope["path"])
        if path is None or scope["method"] != "GET" or scope["query_string"]:
            return None
        keys = []
        for name, value in scope["headers"]:
            if name == b"authorization":
                keys.append(value)
            elif name == b"prefer" or (name == b"accept" and value not in PLAIN):
                return None
        if len(keys) != 1 or not keys[0].startswith(BEARER):
            return None
        principal = await self._caller(keys[0].removeprefix(BEARER).decode("latin-1"))
        if principal is None:
            return None
        table, row_id = SHOWN[path[1]], path[2]
        key = principal.tenant, table.__tablename__, row_id
        if key not in self.service.shelf:
            return None
        mark = await self._marks.mark(principal, table, row_id)
        there = None if mark is None else self.service.shelf.get(key, mark)
        if there is None:
            return None
        seen_of = scope["radii"]
        seen_of.key, seen_of.route = principal.name, ROUTES[path[1]]
        return answered(Request(scope), there)

    async def _caller(self, text: str) -> Principal | None:
        """Who is behind a key that was valid lately: asked for once, when all who poll with it find that too old."""
        database = self.service.database
        if (principal := database.known(text)) is not None or not database.lately(text):
            return principal
        if text not in self._keys:
            self._keys[text] = asyncio.create_task(run_in_threadpool(database.authenticate, text))
            self._keys[text].add_done_callback(lambda _: self._keys.pop(text))
        with suppress(SQLAlchemyError, StorageFull):  # the route, which is asked then, says what it is
            return await asyncio.shield(self._keys[text])
        return None


class _Marks:
    """Reads marks for requests that come together in one go, each after its request has come."""

    def __init__(self, database: TenantDatabase) -> None:
        self._database = database
        self._asked: list[tuple[tuple[Principal, Shown, str], asyncio.Future[Mark | None]]] = []
        self._reading: asyncio.Task[None] | None = None

    async def mark(self, principal: Principal, table: Shown, row_id: str) -> Mark | None:
        """As it is now; None where there is none, or it can't be read."""
        future: asyncio.Future[Mark | None] = asyncio.get_running_loop().create_future()
        self._asked.append(((principal, table, row_id), future))
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        return await future

    async def _read(self) -> None:
        while asked := self._asked:
            self._asked = []
            found: list[Mark | None] = [None] * len(asked)
            with suppress(SQLAlchemyError, StorageFull):  # the route, which is asked then, says what it is
                found = await run_in_threadpool(self._database.marks, [row for row, _ in asked])
            for (_, future), mark in zip(asked, found, strict=True):
                if not future.done():
                    future.set_result(mark)
