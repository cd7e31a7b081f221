"""What the schemas of all nouns share."""

from typing import Annotated

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.kept import Kept, kept

# PostgreSQL keeps no NUL in text, and nobody means the other control characters.
Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Id = Annotated[str, StringConstraints(pattern=r"^[a-z]{3,4}_[0-9a-f]{32}$")]


Ended = Annotated[
    bool, Field(description="Whether `state` is terminal, and never changes again: true is what to wait for.")
]


class Input(BaseModel):
    """A request body: nothing is ignored, nothing is guessed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def represented(
    request: Request, resource: BaseModel, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """``resource`` as JSON with a strong ETag; 304 if the client has these bytes (RFC 9110, 13)."""
    return answered(request, kept(resource, mark=None, ended=True, headers=headers or {}), status=status)


def answered(request: Request, sent: Kept, *, status: int = 200) -> Response:
    """That representation; 304 if the client has these bytes (RFC 9110, 13)."""
    headers = {"ETag": sent.tag, **sent.headers}
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    if request.method == "GET" and (sent.tag in known or "*" in known):
        return Response(status_code=304, headers=headers)
    return Response(sent.content, status, headers, media_type="application/json")
