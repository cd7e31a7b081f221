"""A store that speaks S3 over HTTP, in a process of its own."""

import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

KEYS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_REGION": "us-east-1"}
SERVER = """
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
print("port", server.port, flush=True)
server.serve_forever()
"""


@dataclass(frozen=True)
class Bucket:
    """A bucket of its own, on a server that is there for all tests."""

    endpoint: str
    name: str
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        """What RADII_BLOB_URL is to be."""
        return f"s3://{self.name}/some/prefix"

    @property
    def variables(self) -> dict[str, str]:
        """What stands in the environment of who is to reach it."""
        return {**KEYS, "AWS_ENDPOINT_URL": self.endpoint}

    def object(self, sha256: str) -> str:
        """The address of a blob."""
        return f"{self.endpoint}/{self.name}/some/prefix/{sha256[:2]}/{sha256}"

    def put(self, sha256: str, content: bytes) -> None:
        """Write it, past us."""
        httpx.put(self.object(sha256), content=content, headers=SIGNED).raise_for_status()


# The server looks at no signature, but at the service that it names.
SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=tests/20260101/us-east-1/s3/aws4_request"}


@pytest.fixture(scope="session")
def s3_server() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """It keeps everything in memory."""
    command = [sys.executable, "-c", SERVER]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    found = re.match(r"port (\d+)", process.stdout.readline())
    assert found is not None
    yield f"http://127.0.0.1:{found[1]}", process
    process.kill()
    process.communicate()


@pytest.fixture
def bucket(s3_server: tuple[str, subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A new bucket, which this process and its children reach by variables."""
    endpoint, process = s3_server
    made = Bucket(endpoint, f"radii-{secrets.token_hex(4)}", process)
    httpx.put(f"{endpoint}/{made.name}", headers=SIGNED).raise_for_status()
    for name, value in made.variables.items():
        monkeypatch.setenv(name, value)
    return made
