import hashlib
import resource
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx import Client

from models.blobs import MARK
from models.settings import Settings
from tests.app.calls import problem

# Nothing here asks more of the database than the other tests do on both.

LIMIT = 2**20 + 2**19  # over the limit of JSON bodies


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"max_upload_bytes": LIMIT})


def kept(settings: Settings) -> list[Path]:
    return [path for path in settings.blob_dir.rglob("*") if path.is_file() and path.name != MARK]


def content_digest(data: bytes) -> str:
    return f"sha-256=:{b64encode(hashlib.sha256(data).digest()).decode()}:"


def test_bytes_are_kept_and_named(client: Client, settings: Settings) -> None:
    data = b"x" * LIMIT
    answer = client.post("/v1/uploads", content=data)
    assert answer.status_code == 201
    upload = answer.json()
    assert upload["id"].startswith("upl_")
    assert (upload["sha256"], upload["size"]) == (hashlib.sha256(data).hexdigest(), LIMIT)
    assert [path.read_bytes() for path in kept(settings)] == [data]


def test_one_byte_too_many_by_content_length(client: Client, settings: Settings) -> None:
    document = problem(client.post("/v1/uploads", content=b"x" * (LIMIT + 1)), 413, "upload-too-large")
    assert str(LIMIT) in document["detail"]
    assert kept(settings) == []


def test_one_byte_too_many_counted_while_streaming(client: Client, settings: Settings) -> None:
    def chunks() -> Iterator[bytes]:  # without Content-Length
        yield b"x" * LIMIT
        yield b"x"

    problem(client.post("/v1/uploads", content=chunks()), 413, "upload-too-large")
    assert kept(settings) == []


def test_a_lower_limit_that_the_service_inherited_is_said(client: Client, settings: Settings) -> None:
    """The API of these tests runs in this very process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        document = problem(client.post("/v1/uploads", content=b"x" * (2**20 + 1)), 413, "upload-too-large")
        assert kept(settings) == []
        assert client.post("/v1/uploads", content=b"x" * 2**20).status_code == 201
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "1048576" in document["detail"]
    assert "ulimit -f" in document["remedy"]


def test_content_digest_that_fits(client: Client) -> None:
    fits = content_digest(b"data")
    for digest in (fits, f"sha-512=:AAAA:, {fits}", f"{fits}, sha-512=:AAAA:", "sha-512=:AAAA:"):
        answer = client.post("/v1/uploads", content=b"data", headers={"Content-Digest": digest})
        assert answer.status_code == 201, digest


def test_content_digest_that_does_not_fit(client: Client, settings: Settings) -> None:
    for digest in (content_digest(b"other"), "sha-256=:short=:", "sha-256=nonsense"):
        answer = client.post("/v1/uploads", content=b"data", headers={"Content-Digest": digest})
        problem(answer, 422, "digest-mismatch")
    assert kept(settings) == []


def test_an_empty_upload(client: Client, settings: Settings) -> None:
    problem(client.post("/v1/uploads"), 422, "empty-upload")
    assert kept(settings) == []


def test_no_key_no_byte_is_kept(anonymous: Client, settings: Settings) -> None:
    problem(anonymous.post("/v1/uploads", content=b"data"), 401, "unauthenticated")
    assert kept(settings) == []
