"""What the schemas of all nouns share."""

from hashlib import sha256
from typing import Annotated

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

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
    content = resource.model_dump_json().encode()
    tag = f'"{sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": tag, **(headers or {})}
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    if request.method == "GET" and (tag in known or "*" in known):
        return Response(status_code=304, headers=headers)
    return Response(content, status, headers, media_type="application/json")
