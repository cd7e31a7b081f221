"""Random mutations of real files: an answer or `UnsupportedModel`, in bounded time and memory, and nothing else."""

import random
import resource
import time
from pathlib import Path

import pytest

from radii.graph import UnsupportedModel, read_onnx
from tests.graph.export import export
from tests.graph.networks import NETWORKS, trained
from tests.graph.test_refusals import mutated, small

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
MUTATIONS = 20_000
SECONDS, MEGABYTES = 2, 1000  # of one file


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    made = [small(), *(path.read_bytes() for path in sorted(DIGITS.glob("*.onnx")))]
    for i, (name, (_, shape)) in enumerate(NETWORKS.items()):
        made.append(export(trained(name), shape, dynamo=bool(i % 2), opset=18 if i % 2 else 13, dynamic=True))
    return made


def structural(data: bytes, rng: random.Random) -> bytes:
    """A mutation where it matters: most bytes of a real file are weights, and its structure is at the two ends."""
    if rng.random() < 0.3:
        return mutated(data, rng)
    cut = rng.randrange(min(len(data), 3000)) + 1
    if rng.random() < 0.5:
        return mutated(data[:cut], rng) + data[cut:]
    return data[:-cut] + mutated(data[-cut:], rng)


def test_an_answer_or_a_refusal(files: list[bytes]) -> None:
    rng = random.Random(20)
    read, slowest = 0, 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(MUTATIONS):
        data = structural(files[number % len(files)], rng)
        started = time.process_time()
        try:
            read_onnx(data)
            read += 1
        except UnsupportedModel:
            pass
        slowest = max(slowest, time.process_time() - started)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert 0 < read < MUTATIONS
    assert slowest < SECONDS
    assert grown < MEGABYTES
