"""Limits of a service that are met, then raised by the setting that the remedy names."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil
from onnx import helper

from models.problems import Problem
from tests.disk import Disk
from tests.graph.build import model
from tests.remedies.files import FLAT, inputs, npz
from tests.remedies.obey import obeys, ready, refused, taken_in
from tests.service import command_line, running, until


@contextmanager
def serving(data_dir: Path, *flags: str) -> Iterator[httpx.Client]:
    """A client of a service on that folder."""
    with running(data_dir, *flags) as service:
        headers = {"Authorization": f"Bearer {service.key}"}
        with httpx.Client(base_url=service.url, headers=headers, timeout=60) as client:
            yield client


def slow() -> bytes:
    """A small file whose eight inputs take over a second of computing."""
    weight = np.random.default_rng(0).standard_normal((64, 64, 3, 3)).astype(np.float32) / 24
    nodes = [helper.make_node("Conv", [f"h{i}" if i else "x", "w"], [f"h{i + 1}"], pads=[1] * 4) for i in range(3)]
    nodes += [helper.make_node("GlobalAveragePool", ["h3"], ["p"]), helper.make_node("Flatten", ["p"], ["y"])]
    return model(nodes, (64, 128, 128), {"w": weight})


def flag(setting: str) -> str:
    return "--" + setting.removeprefix("RADII_").lower().replace("_", "-")


@obeys(Problem.UPLOAD_TOO_LARGE)
@obeys(Problem.INTAKE_LIMIT)
def test_raise_the_limits_that_are_named(tmp_path: Path) -> None:
    large = npz(x=inputs(40_000))
    space = FLAT | {"shape": [64, 128, 128]}
    with serving(tmp_path / "data", "--max-upload-bytes", "300000", "--intake-seconds", "1") as http:
        document = refused(http.post("/v1/uploads", content=large), Problem.UPLOAD_TOO_LARGE)
        (upload,) = re.findall(r"RADII_\w+", document["remedy"])
        document = refused(taken_in(http, "models", slow(), input=space), Problem.INTAKE_LIMIT)
        (seconds, _) = re.findall(r"RADII_\w+", document["remedy"])
    with serving(tmp_path / "data", flag(upload), str(10**6), flag(seconds), "120") as http:
        ready(http, "datasets", large)
        ready(http, "models", slow(), input=space)


@obeys(Problem.STORAGE_FULL)
def test_free_space_then_send_it_again(disk: Disk) -> None:
    with serving(disk.folder / "data") as http:
        disk.fill()
        document = refused(http.post("/v1/uploads", content=npz(x=inputs())), Problem.STORAGE_FULL)
        assert document["remedy"].startswith("Free space where the service keeps its data")
        disk.empty()
        assert http.post("/v1/uploads", content=npz(x=inputs())).status_code == 201


@obeys(Problem.LAST_KEY)
def test_create_another_key_first(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as http:
        (first,) = http.get("/v1/keys").json()["items"]
        document = refused(http.delete(f"/v1/keys/{first['id']}"), Problem.LAST_KEY)
        assert "Create another first: POST /v1/keys" in document["remedy"]
        http.headers["Authorization"] = f"Bearer {http.post('/v1/keys', json={'name': 'another'}).json()['key']}"
        assert http.delete(f"/v1/keys/{first['id']}").json()["revoked_at"]


@obeys(Problem.UNAVAILABLE)
def test_try_again_shortly(tmp_path: Path) -> None:
    """The private Redis is killed; `radii up` starts it again."""
    with running(tmp_path / "data") as service:
        (redis,) = [process for process in service.family() if _is_redis(process)]
        redis.kill()
        document = refused(
            until(lambda: httpx.get(f"{service.url}/readyz"), lambda answer: answer.status_code != 200),
            Problem.UNAVAILABLE,
        )
        assert document["parts"]["broker"] != "ok" and "/readyz says which part" in document["remedy"]
        until(lambda: httpx.get(f"{service.url}/readyz").status_code == 200)


def _is_redis(process: psutil.Process) -> bool:
    return command_line(process).split(" ")[0].endswith(("redis-server", "valkey-server"))
