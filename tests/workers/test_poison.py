"""Inputs that end or hang their process, as native code does: they fail, and nothing else does.

The code is a copy in which the network itself, once it is built, aborts on bright inputs and sleeps on dark ones.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.states import TERMINAL
from models.tables import Certification
from tests.workers.answers import DIGITS, results, said, shards, truth
from tests.workers.harness import EXAMPLES, PATIENCE, ROOT, Service, installation, wait_for
from workers.poison import OF_NO_INPUT, amid_inputs
from workers.runner.heartbeat import STARTING

# What is written is tried on both databases in tests/models; here processes are, which take their time.
on_one_database = pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)

CODE = ("app", "models", "radii", "workers")
POISON = """

def _poisoned(build):
    def built(*args):
        network = build(*args)

        def run(batch):
            brightness = float(batch.mean())
            if brightness > 0.75:
                import os

                os.abort()
            while brightness < 0.04:
                import time

                time.sleep(60)
            return network(batch)

        return run

    return built


LoadedModel._built = _poisoned(LoadedModel._built)
"""
ASKED: dict[str, Any] = {"kind": "smoothing", "sigma": 0.25, "n": 20_000, "cross_check": 0}
PHASES = re.compile(r"""phase\(\s*f?"([^"]+)"|(?:STARTING|LOADING|BOUNDING) = "([^"]+)\"""")


@pytest.fixture
def code(tmp_path: Path) -> Path:
    copy = tmp_path / "code"
    for name in CODE:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / "workers" / "runner" / "loaded_model.py").open("a") as module:
        module.write(POISON)
    return copy


@pytest.fixture
def service(tmp_path: Path, database_url: str, redis_socket: Path) -> Iterator[Service]:
    with installation(tmp_path / "data", database_url, redis_socket, max_attempts=1, stall_seconds=20.0) as service:
        yield service


def done(service: Service, job: str) -> None:
    """A runner is started after each death, which takes seconds."""
    wait_for(lambda: service.get(Certification, job).state in TERMINAL, seconds=4 * PATIENCE)


def with_inputs(service: Service, folder: Path, **poison: float) -> str:
    """Digits of which some are of one brightness instead: input1=0.9."""
    x = DIGITS["x"][:4].copy()
    for name, brightness in poison.items():
        x[int(name.removeprefix("input"))] = brightness
    np.savez(folder / "poison.npz", x=x, y=DIGITS["y"][:4])
    return service.known_dataset(folder / "poison.npz")


@on_one_database
def test_one_that_crashes_and_one_that_hangs_cost_their_own_results(
    service: Service, tmp_path: Path, code: Path
) -> None:
    model, data = service.known_model(EXAMPLES / "digits.onnx"), with_inputs(service, tmp_path, input1=0.9, input3=0.0)
    log = tmp_path / "log"
    service.start(log, code=code)
    job = service.certify(model, data, 4, shard_inputs=4, **ASKED)
    done(service, job)
    row = service.get(Certification, job)
    assert (row.state, row.done) == ("succeeded", row.total), row.problem
    assert (row.summary["failed_indices"], row.summary["inputs"]) == ([1, 3], 4)
    found = results(service, job)
    crashed, hung = found[1].detail["problem"], found[3].detail["problem"]
    assert crashed["type"] == "/problems/worker-lost" and "was killed by SIGABRT while " in crashed["detail"]
    assert hung["type"] == "/problems/stalled" and "made no progress" in hung["detail"]
    assert crashed["shard"] in {shard.id for shard in shards(service, job)}
    for problem, how in ((crashed, "was killed by SIGABRT"), (hung, "made no progress")):
        of_it = [line for line in log.read_text().splitlines() if problem["log"] in line]
        assert any(how in line for line in of_it) and not any(line.endswith(" done") for line in of_it)
    assert [r.label for r in found] == DIGITS["y"][:4].tolist()
    whole = truth(3, ASKED["n"])
    assert [(r.prediction, r.radius, r.detail["pilot_counts"], r.detail["counts"]) for r in (found[0], found[2])] == [
        whole[0],
        whole[2],
    ]

    innocent = service.certify(model, data, 1, **ASKED)
    done(service, innocent)
    assert said(service, innocent) == truth(1, ASKED["n"])


@on_one_database
def test_a_job_of_poison_alone_has_failed(service: Service, tmp_path: Path, code: Path) -> None:
    model = service.known_model(EXAMPLES / "digits.onnx")
    data = with_inputs(service, tmp_path, input0=0.9, input1=0.95)
    service.start(code=code)
    job = service.certify(model, data, 2, shard_inputs=2, **ASKED)
    done(service, job)
    row = service.get(Certification, job)
    assert (row.state, row.problem["type"]) == ("failed", "/problems/worker-lost")
    assert (row.summary["failed"], row.summary["accuracy"]) == (2, None)


def test_every_phase_is_of_inputs_or_not() -> None:
    """A new one is listed here, as one or the other."""
    of_inputs = {
        "answering without noise",
        "attacking what was certified",
        "bounding near inputs",
        "choosing what runs the samples",
        "computing margins",
        "evaluating the network",
        "sampling",
    }
    found = set()
    for file in [*(ROOT / "workers" / "runner").glob("*.py"), *(ROOT / "workers" / "methods").glob("*.py")]:
        found |= {one or other for one, other in PHASES.findall(file.read_text())}
    assert STARTING in found
    assert found == of_inputs | set(OF_NO_INPUT)
    assert {phase for phase in found if amid_inputs(phase)} == of_inputs
