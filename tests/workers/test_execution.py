"""What runs the samples of an order where an executor, or the whole device, fails."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from radii.execution import executors
from radii.execution.executors import ONNXRUNTIME, TORCH
from radii.smoothing.sampling import Classifier
from tests.workers import orders
from tests.workers.test_compute import smoothed
from workers.environment import bare_environment, compiler
from workers.messages import NAMES, Event, NetworkFiles, encoded
from workers.runner.compute import ShardComputer
from workers.runner.loaded_model import described

SETTLED = {"executor": ONNXRUNTIME, "batch_size": 50}
Plant = Callable[[Callable[[Classifier], Classifier]], list[str]]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Plant:
    """What becomes of each onnxruntime that is built; the names of all executors that are."""

    def planted(change: Callable[[Classifier], Classifier]) -> list[str]:
        healthy, built = executors.build, []

        def build(executor: str, *args: Any, **more: Any) -> Classifier:
            built.append(executor)
            classifier = healthy(executor, *args, **more)
            return change(classifier) if executor == ONNXRUNTIME else classifier

        monkeypatch.setattr(executors, "build", build)
        return built

    return planted


class Heard(ShardComputer):
    """Keeps the kinds of what it emits."""

    def work(self, order: Any, emit: Any, ask: Any) -> Any:
        self.emitted: list[str] = []

        def heard(event: Event) -> None:
            self.emitted.append(NAMES[type(event)])
            emit(event)

        return super().work(order, heard, ask)


def raises(error: Exception) -> Any:
    raise error


def test_torch_takes_the_place_of_an_executor_that_is_missing_here(
    tmp_path: Path, plant: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    """Another worker had it. The result says what ran."""
    _, expected = smoothed(tmp_path, ShardComputer(), execution={"executor": TORCH, "batch_size": 50})
    plant(lambda _: raises(RuntimeError("Failed to find C compiler.\nPlease specify one")))
    problem, emitted = smoothed(tmp_path, ShardComputer(), execution=SETTLED)
    assert problem is None and emitted["chunk"] == expected["chunk"]
    for result in emitted["result"]:
        assert (result["detail"]["executor"], result["detail"]["batch_size"]) == (TORCH, 50)
    [line] = caplog.messages
    assert line == f"torch takes the place of {ONNXRUNTIME}: RuntimeError: Failed to find C compiler."


def test_torch_takes_the_place_of_an_executor_that_is_wrong_here(
    tmp_path: Path, plant: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    """Another version of it was right where it was chosen: by another worker, or for an earlier certification."""
    _, expected = smoothed(tmp_path, ShardComputer(), execution={"executor": TORCH, "batch_size": 50})
    searched = {"device": described(torch.device("cpu")), "samples": 10**9}
    memory = SETTLED | {"searched": searched, "method": {"kind": "smoothing"}}
    plant(lambda classifier: lambda x: classifier(x).flip(1))
    for order in ({"execution": SETTLED}, {"batch_size": None, "inputs": 100_000, "executions": [memory]}):
        caplog.clear()
        problem, emitted = smoothed(tmp_path, ShardComputer(), **order)
        assert problem is None and emitted["chunk"] == expected["chunk"]
        assert {result["detail"]["executor"] for result in emitted["result"]} == {TORCH}
        [line] = caplog.messages
        assert line == f"torch takes the place of {ONNXRUNTIME}: ValueError: its logits are not those of the reference"


def test_a_candidate_that_fails_costs_no_answer(tmp_path: Path, plant: Plant) -> None:
    asked: list[Any] = []

    def settled(proposal: Any) -> Any:
        asked.append(proposal)
        return proposal

    plant(lambda _: lambda x: raises(RuntimeError("no kernel")))
    problem, emitted = smoothed(tmp_path, ShardComputer(), settled, batch_size=None, inputs=100_000)
    assert problem is None and len(emitted["result"]) == 3
    assert [proposal["executor"] for proposal in asked] == [TORCH]


def test_after_an_attempt_without_progress_nothing_is_tried(tmp_path: Path, plant: Plant) -> None:
    """An executor may have ended it, with its process: as it was tried, or as it ran what was settled."""
    built = plant(lambda _: os._exit(1))
    for order in ({"batch_size": None, "inputs": 100_000}, {"execution": SETTLED}):
        problem, emitted = smoothed(tmp_path, ShardComputer(), attempts=2, **order)
        assert problem is None and {result["detail"]["executor"] for result in emitted["result"]} == {TORCH}
    assert ONNXRUNTIME not in built


def test_what_is_built_for_an_order_serves_the_next(tmp_path: Path, plant: Plant) -> None:
    built, computer = plant(lambda classifier: classifier), ShardComputer()
    for _ in range(2):
        assert smoothed(tmp_path, computer, execution=SETTLED)[0] is None
    assert built.count(ONNXRUNTIME) == 1
    smoothed(tmp_path, computer, execution=SETTLED | {"batch_size": 20})
    assert built.count(ONNXRUNTIME) == 2


def test_a_device_that_is_lost_ends_the_runner(tmp_path: Path, plant: Plant) -> None:
    """What was counted before stands; to say that the computation failed would end the job."""
    calls = count()

    def breaks(classifier: Classifier) -> Classifier:
        lost = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        return lambda x: classifier(x) if next(calls) < 30 else raises(lost)

    plant(breaks)
    computer = Heard()
    with pytest.raises(torch.AcceleratorError):
        smoothed(tmp_path, computer, execution=SETTLED)
    assert "chunk" in computer.emitted and "result" in computer.emitted

    code = (
        "from workers.runner import __main__ as it, compute\ncompute.ShardComputer.work = lambda *_: 1 / 0\nit.main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=bare_environment(),
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        order = orders.order(tmp_path, 1, NetworkFiles({}, "", {}), {})
        process.stdin.write(encoded(order).encode())
        process.stdin.flush()
        said = [line for line in map(json.loads, process.stdout) if "alive" not in line]
        assert said == [{"phase": {"name": "starting"}}, {"crash": {"words": "ZeroDivisionError: division by zero"}}]
        assert b"ZeroDivisionError" in process.stderr.read()
        assert process.wait() == 1


IDLE = """
import sys
from workers.runner import __main__ as it
from workers.runner.compute import ShardComputer
def rest(self):
    print("rests", file=sys.stderr, flush=True)
    return {stays}
ShardComputer.rest = rest
it.IDLE_SECONDS = 0.1
it.main()
"""


@pytest.mark.parametrize("stays", [True, False], ids=["on a CPU", "on a GPU"])
def test_a_runner_that_nobody_needs_rests_and_lets_a_gpu_go(stays: bool) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", IDLE.format(stays=stays)]
    with subprocess.Popen(command, env=bare_environment(), **pipes) as process:  # type: ignore[call-overload]
        assert [process.stderr.readline() for _ in range(1 + stays)] == [b"rests\n"] * (1 + stays)
        if stays:  # until its supervisor is gone
            process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait() == 0


def test_compiled_code_is_kept_where_no_one_else_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.environment.TEMPORARY", tmp_path)
    first = compiler()
    assert first == compiler()
    folder = Path(first["TRITON_CACHE_DIR"]).parent
    assert Path(first["TORCHINDUCTOR_CACHE_DIR"]).parent == folder and folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o770)
    other = Path(compiler()["TRITON_CACHE_DIR"]).parent
    assert other != folder and other.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(folder)
    folder.symlink_to(other)
    assert Path(compiler()["TRITON_CACHE_DIR"]).parent not in (folder, other)
