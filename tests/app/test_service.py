"""Capabilities, health, the OpenAPI document, and the process itself."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from fastapi import FastAPI
from httpx import Client

from models.bell import celery_app
from models.bootstrap import ROOT, bootstrap
from models.database import Database
from models.settings import Settings
from models.work import CERTIFY, INTAKE
from radii.architectures import ARCHITECTURES
from radii.methods import METHODS
from tests.app.calls import certification, problem
from tests.conftest import missing

MOST_MEMORY = 128 * 2**20  # 121 MiB with psycopg; torch alone would take more than twice that


def test_capabilities(client: Client, settings: Settings) -> None:
    able = client.get("/v1/capabilities").json()
    assert [method["kind"] for method in able["methods"]] == [
        "smoothing",
        "lipschitz",
        "local",
        "prediction",
        "median",
        "splitting",
    ]
    assert able["methods"][0]["schema"] == METHODS[0].model_json_schema()
    assert able["limits"]["upload_bytes"] == settings.max_upload_bytes
    assert able["versions"]["api"] == "v1"
    assert [one["format"] for one in able["formats"]["models"]] == ["onnx", "graph.json", "safetensors"]
    assert [one["name"] for one in able["architectures"]] == list(ARCHITECTURES)
    assert set(able["architectures"][0]["schema"]["properties"]) == {
        "hidden",
        "activation",
        "batch_norm",
        "num_classes",
    }
    file = ROOT / "radii" / "operators.json"
    assert able["operators"] == (json.loads(file.read_text()) if file.exists() else [])


def test_openapi_and_docs_need_no_key(app: FastAPI, anonymous: Client) -> None:
    document = anonymous.get("/openapi.json").json()
    assert document == json.loads(json.dumps(app.openapi()))
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, item in document["paths"].items():
        for operation in item.values():
            assert operation["summary"]
            assert ("security" in operation) == (path.startswith("/v1/") or path == "/metrics")
            assert "application/problem+json" in operation["responses"]["default"]["content"]
            assert "422" not in operation["responses"]  # FastAPI's own shape of errors is not ours
    schemas = document["components"]["schemas"]
    shown = {"CertificationOut": {"summary", "progress"}, "Curve": None, "ResultPage": None}
    described = set()
    while shown:  # every figure of summary, progress, curve and results, and of what they are made
        name, fields = shown.popitem()
        described.add(name)
        for field, schema in schemas[name]["properties"].items():
            if fields is None or field in fields:
                parts = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(schema)))
                assert schema.get("description") or parts, f"{name}.{field}"
                shown |= dict.fromkeys(parts - described - {"Method"})
                assert all(schemas[part].get("description") for part in parts)
    assert described >= {"Summary", "CrossCheck", "Bound", "SmoothingResult", "Attack", "CurvePoint", "Progress"}
    assert anonymous.get("/", follow_redirects=True).status_code == 200


def test_ready_only_when_all_parts_are(anonymous: Client) -> None:
    document = problem(anonymous.get("/readyz"), 503, "unavailable")
    assert document["parts"]["blobs"] == "ok"
    assert "not migrated" in document["parts"]["database"]  # the tables are there, but not by migration
    assert document["parts"]["broker"] == "not reachable"
    assert anonymous.get("/livez").json() == {"status": "ok"}


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """URL of a Redis of one's own, on a unix socket."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        missing("redis-server")
    path = folder / "r.sock"
    arguments = [str(program), "--port", "0", "--unixsocket", str(path), "--save", "", "--daemonize", "no"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=folder) as server:
        assert server.stdout is not None
        for line in server.stdout:
            if "eady to accept connections" in line:
                break
        try:
            yield f"redis+socket://{path}"
        finally:
            server.kill()


@pytest.fixture
def deployed(tmp_path: Path, empty_database_url: str) -> Iterator[Settings]:
    """An installation with a broker."""
    with redis(tmp_path) as url:
        settings = Settings(data_dir=tmp_path / "data", database_url=empty_database_url, broker_url=url)
        bootstrap(settings)
        yield settings


def test_the_process(deployed: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "app.main:create_app", "--factory", "--port", str(port)]
    started = time.monotonic()
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **deployed.environment()}) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                wait_until_live(client, process)
                print(f"live after {time.monotonic() - started:.2f} s")
                ready = client.get("/readyz")
                assert ready.json() == {
                    "status": "ok",
                    "parts": dict.fromkeys(("database", "broker", "blobs", "storage"), "ok"),
                }
                client.headers["Authorization"] = f"Bearer {deployed.key_file.read_text().strip()}"
                with closing(Database(deployed.database)) as database:
                    certification(client, database)
                memory = psutil.Process(process.pid).memory_info().rss
                print(f"{memory / 2**20:.0f} MiB resident")
                assert memory < MOST_MEMORY
                with celery_app(deployed).connection_for_read() as broker:
                    for queue, rung in ((INTAKE, 2), (CERTIFY, 1)):
                        assert queue_length(broker, queue, rung) == rung
        finally:
            process.terminate()
            assert process.wait(30) in (0, -signal.SIGTERM)  # uvicorn ends in peace, then by the signal


def wait_until_live(client: Client, process: subprocess.Popen[bytes]) -> None:
    while True:
        assert process.poll() is None
        try:
            client.get("/livez").raise_for_status()
            return
        except httpx.ConnectError:
            time.sleep(0.02)


def queue_length(broker: object, queue: str, expected: int) -> int:
    """Messages in ``queue``, once there are as many as expected (bells ring a moment after the answer)."""
    deadline = time.monotonic() + 30
    while True:
        length: int = broker.default_channel.client.llen(queue)  # type: ignore[attr-defined]
        if length >= expected or time.monotonic() > deadline:
            return length


def test_what_the_api_imports() -> None:
    heavy = "torch", "numpy", "scipy", "onnx", "onnxruntime"
    program = f"import sys, app.main; print(*[name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
