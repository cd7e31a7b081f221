"""Uploads: raw bytes, streamed to disk, hashed and counted; never parsed here."""

import re
import resource
from base64 import b64decode
from collections.abc import AsyncIterator
from datetime import datetime

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from app.auth import Caller
from app.errors import Refusal
from app.service import InService, Service
from models import storage
from models.blobs import DigestMismatch, TooLarge
from models.principal import Principal
from models.problems import Problem
from models.repositories import uploads

router = APIRouter(tags=["uploads"])

SHA256 = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):\s*(?:$|[,;])")


class UploadOut(BaseModel):
    """An upload: name its id when you make a model or a data set."""

    id: str
    sha256: str
    size: int
    created_at: datetime


@router.post(
    "/uploads",
    status_code=201,
    summary="Upload a file",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
        "parameters": [
            {
                "name": "Content-Digest",
                "in": "header",
                "description": "`sha-256=:BASE64:` of the body (RFC 9530); verified where given.",
                "schema": {"type": "string"},
            }
        ],
    },
)
async def create(request: Request, service: InService, principal: Caller) -> UploadOut:
    """Send the file as the raw request body, e.g. `curl --data-binary @model.onnx`."""
    limit, too_large = _limit(service)
    declared = int(request.headers.get("content-length", "0"))
    if declared > limit:
        raise too_large
    storage.require(service.blobs.root, declared)
    try:
        sha256, size = await service.blobs.receive(_some(request), limit, expected=_declared_digest(request))
    except TooLarge:
        raise too_large from None
    except DigestMismatch as mismatch:
        raise Refusal(Problem.DIGEST_MISMATCH, str(mismatch)) from None
    return await run_in_threadpool(_noted, service, principal, sha256, size)


def _limit(service: Service) -> tuple[int, Refusal]:
    """The largest upload in bytes, and what is said of a larger one."""
    own, inherited = service.settings.max_upload_bytes, resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if inherited == resource.RLIM_INFINITY or inherited >= own:
        return own, Refusal(Problem.UPLOAD_TOO_LARGE, f"an upload has at most {own} bytes here")
    return inherited, Refusal(
        Problem.UPLOAD_TOO_LARGE,
        f"no file of the service may be larger than {inherited} bytes: it was started under that limit (ulimit -f)",
        remedy="Send less, or start the service without that limit (ulimit -f unlimited).",
    )


def _noted(service: Service, principal: Principal, sha256: str, size: int) -> UploadOut:
    with service.database.write(principal) as session:
        row = uploads.add(session, principal.tenant, sha256=sha256, size=size)
        return UploadOut.model_validate(row, from_attributes=True)


async def _some(request: Request) -> AsyncIterator[bytes]:
    """The body, which must have at least one byte."""
    empty = True
    async for block in request.stream():
        empty = empty and not block
        yield block
    if empty:
        raise Refusal(Problem.EMPTY_UPLOAD, "the request body is empty")


def _declared_digest(request: Request) -> str | None:
    """The sha-256 of ``Content-Digest`` in hex; None without one (other algorithms may be ignored: RFC 9530, 2)."""
    header = ", ".join(request.headers.getlist("content-digest"))
    if "sha-256" not in header:
        return None
    found = SHA256.search(header)
    if not found:
        raise Refusal(Problem.DIGEST_MISMATCH, "Content-Digest is not of the form sha-256=:BASE64:")
    return b64decode(found[1]).hex()
