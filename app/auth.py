"""Authentication, once for everything under /v1: ``Authorization: Bearer KEY``."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from app.errors import Refusal
from app.service import InService
from models.principal import Principal
from models.problems import Problem

_bearer = HTTPBearer(
    auto_error=False, scheme_name="key", description="An API key; the first one is in DATA_DIR/api-key."
)


Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


async def authenticated(request: Request, service: InService, credentials: Credentials) -> Principal:
    """Who is behind the request. Refuses one without a valid key. A revoked key ends within ``KEY_SECONDS``."""
    if credentials is None:
        raise Refusal(
            Problem.UNAUTHENTICATED, "the request carries no bearer key", headers={"WWW-Authenticate": "Bearer"}
        )
    text = credentials.credentials
    principal = service.database.known(text) or await run_in_threadpool(service.database.authenticate, text)
    if principal is None:
        raise Refusal(
            Problem.UNAUTHENTICATED,
            "the key is not one of this service, or was revoked",
            headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
        )
    request.scope["radii"].key = principal.name
    return principal


Caller = Annotated[Principal, Depends(authenticated)]
