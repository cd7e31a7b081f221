"""Authentication, once for everything under /v1: ``Authorization: Bearer KEY``."""

from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.errors import Refusal
from app.service import InService
from models.principal import Principal
from models.problems import Problem

_bearer = HTTPBearer(
    auto_error=False, scheme_name="key", description="An API key; the first one is in DATA_DIR/api-key."
)


def authenticated(
    service: InService, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    """Who is behind the request. Refuses one without a valid key. A revoked key ends at once: nothing is cached."""
    if credentials is None:
        raise Refusal(
            Problem.UNAUTHENTICATED, "the request carries no bearer key", headers={"WWW-Authenticate": "Bearer"}
        )
    principal = service.database.authenticate(credentials.credentials)
    if principal is None:
        raise Refusal(
            Problem.UNAUTHENTICATED,
            "the key is not one of this service, or was revoked",
            headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
        )
    return principal


Caller = Annotated[Principal, Depends(authenticated)]
