"""What counts as progress: a long computation does, a hang does not."""

import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.lipschitz.network.sharp import relu_graph
from workers.messages import Alive, Phase
from workers.runner import heartbeat
from workers.runner.heartbeat import Heart, phase, phase_of, step, stepping
from workers.runner.loaded_model import CLEAN, LoadedModel, clean_predictions


@pytest.fixture
def heart(monkeypatch: pytest.MonkeyPatch) -> Heart:
    heart = Heart()
    monkeypatch.setattr(heartbeat, "HEART", heart)
    return heart


def compute(seconds: float) -> None:
    """Use the CPU for that long, without a step."""
    ends = time.process_time() + seconds
    while time.process_time() < ends:
        sum(range(1000))


def hang(seconds: float) -> None:
    """Wait for what never comes."""
    assert not threading.Event().wait(seconds)


def test_a_long_computation_is_progress_and_a_hang_is_none(heart: Heart) -> None:
    heart.advanced()
    hang(0.3)
    assert not heart.advanced()
    compute(0.05)
    assert heart.advanced()
    step()
    assert heart.advanced()
    assert stepping(abs)(-1) == 1
    assert heart.steps == 2


def test_a_driver_that_spins_is_no_progress_and_a_batch_is(heart: Heart) -> None:
    gpu, cpu = SimpleNamespace(type="cuda"), SimpleNamespace(type="cpu")
    with phase("sampling", gpu):
        with phase("attacking"):  # it waits for what the block around it waits for
            heart.advanced()
            compute(0.05)
            assert not heart.advanced()
            step()
            assert heart.advanced()
        with phase("bounding", cpu):
            heart.advanced()
            compute(0.05)
            assert heart.advanced()


def test_a_phase_is_told_and_known_of_an_error(heart: Heart) -> None:
    told: list[Any] = []
    heart.say = told.append
    with phase("loading"), phase("reading"):
        pass
    assert told == [Phase(name) for name in ("loading", "reading", "loading", "starting")]
    with pytest.raises(ZeroDivisionError) as raised, phase("sampling"), phase("attacking"):
        raise ZeroDivisionError
    assert phase_of(raised.value) == "attacking"
    assert heart.phase == "starting"


def test_a_bound_tells_the_node_and_the_rule_that_it_is_at(heart: Heart) -> None:
    told: list[Any] = []
    heart.say = told.append
    model = LoadedModel((None, None, "cpu"), relu_graph([np.eye(3), np.eye(3)]), torch.device("cpu"))
    before = heart.steps
    first = model.bound("eclipse")
    where = [f"node {i} ({name}) of 3" for i, name in enumerate(("Gemm", "Relu", "Gemm"))]
    said = [f"bounding the network: {at}" for at in (*where, "eclipse, up to node 2 (Gemm)")]
    assert told == [Phase(name) for name in ("bounding the network", *said, "starting")]
    assert heart.steps == before + 6
    assert model.bound("eclipse") is first and model.bound("eclipse", budget=1) is not first


def test_answers_without_noise_wait_for_the_device_batch_by_batch(heart: Heart) -> None:
    """A hang in the first use of a device is ended as any other."""
    meta = torch.device("meta")
    seen: list[tuple[str, bool]] = []

    def classifier(batch: torch.Tensor) -> torch.Tensor:
        assert batch.device == meta
        seen.append((heart.phase, heart.waits_for_device))
        return torch.zeros(len(batch), 3)

    before = heart.steps
    found = clean_predictions(classifier, np.zeros((CLEAN + 1, 2), np.float32), list(range(CLEAN + 1)), meta)
    assert found == dict.fromkeys(range(CLEAN + 1), 0)
    assert seen == [("answering without noise", True)] * 2
    assert heart.steps == before + 4  # the phase's beginning and end, and two batches


def test_it_beats_while_there_is_work_that_gets_on(heart: Heart, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)
    beats = threading.Event()
    heart.working = True
    heart.start(lambda event: beats.set() if isinstance(event, Alive) else None)
    step()
    assert beats.wait(10)
    heart.working = False
