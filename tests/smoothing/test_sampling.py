import hashlib
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from radii.graph import read_onnx, to_module
from radii.smoothing import CHUNK, certify, count_chunk, gaussian, input_digest, noise_key

EXAMPLES = Path(__file__).parents[2] / "examples" / "digits"

KEY = noise_key(bytes(32), model_digest="m", input_digest="x", noise="gaussian", sigma=0.5)
X = torch.linspace(0, 1, 12).reshape(3, 4)
CALL: dict[str, Any] = {
    "num_classes": 3,
    "noise": gaussian(0.5),
    "key": KEY,
    "stage": "estimate",
    "number": 0,
    "size": CHUNK,
    "batch_size": 64,
}


class Recorder:
    """A classifier that keeps what it was shown; class 1 where the first value is positive, else 0."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []
        self.places: set[int] = set()

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        self.seen.append(batch.clone())
        self.places.add(batch.data_ptr())
        positive = (batch.flatten(1)[:, 0] > 0).float()
        batch.fill_(math.nan)  # what a network does to its input must not reach the next batch
        return torch.stack([1 - positive, positive, torch.zeros(len(batch))], 1)

    def samples(self) -> torch.Tensor:
        return torch.cat(self.seen)


def shown(**change: Any) -> tuple[torch.Tensor, np.ndarray]:
    recorder = Recorder()
    counts = count_chunk(recorder, X, **CALL | change)
    return recorder.samples(), counts


def test_samples_are_the_same_whatever_the_batch_size() -> None:
    samples, counts = shown()
    assert samples.shape == (CHUNK, 3, 4)
    assert (counts.dtype, counts.shape, counts.sum()) == (np.dtype(np.int64), (4,), CHUNK)
    for batch_size in (1, 7, 100, 999, 1000, 5000):
        again, counts_again = shown(batch_size=batch_size)
        assert torch.equal(again, samples)
        assert np.array_equal(counts_again, counts)


def test_a_smaller_chunk_is_a_prefix() -> None:
    samples, _ = shown()
    for size in (1, 63, 64, 65, 100, 999):
        fewer, counts = shown(size=size)
        assert torch.equal(fewer, samples[:size])
        assert counts.sum() == size


def test_chunks_do_not_depend_on_each_other_and_differ() -> None:
    forward = [shown(number=number, size=20)[0] for number in range(5)]
    backward = [shown(number=number, size=20)[0] for number in reversed(range(5))]
    assert all(map(torch.equal, forward, reversed(backward)))
    pilot = shown(stage="pilot", size=20)[0]
    other = shown(key=hashlib.sha256(KEY).digest(), size=20)[0]
    assert len({tuple(samples.flatten().tolist()) for samples in (*forward, pilot, other)}) == 7


def test_noise_has_the_asked_deviation_around_x() -> None:
    """Fixed key; 24 checks at 5.5 standard deviations: another key would fail with chance 1e-6."""
    samples, _ = shown(noise=gaussian(0.25))
    noise = ((samples - X) / 0.25).double()
    assert noise.mean(0).abs().max() < 5.5 / math.sqrt(CHUNK)
    assert (noise.var(0) - 1).abs().max() < 5.5 * math.sqrt(2 / CHUNK)


def test_one_buffer_serves_all_batches() -> None:
    recorder = Recorder()
    count_chunk(recorder, X, **CALL)
    assert len(recorder.seen) == 16
    assert len(recorder.places) == 1


def test_x_is_left_alone() -> None:
    x = X.clone().requires_grad_()
    count_chunk(Recorder(), x, **CALL)
    assert torch.equal(x, X)


def test_ties_go_to_the_lowest_index() -> None:
    counts = count_chunk(lambda batch: torch.tensor([0.0, 1.0, 1.0]).expand(len(batch), 3), X, **CALL)
    assert counts.tolist() == [0, CHUNK, 0, 0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_non_finite_logits_are_a_class_of_their_own(bad: float, place: int) -> None:
    def classifier(batch: torch.Tensor) -> torch.Tensor:
        logits = torch.tensor([0.0, 1.0, 2.0]).repeat(len(batch), 1)
        logits[::4, place] = bad
        return logits

    assert count_chunk(classifier, X, **CALL).tolist() == [0, 0, 750, 250]


def test_a_non_finite_input_abstains() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
    row = certify(net, X / 0, num_classes=3, noise=gaussian(0.5), alpha=0.001, n0=10, n=100, key=KEY)
    assert (row.prediction, row.abstained, row.counts) == (None, True, (0, 0, 0, 100))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("size", {"size": 0}),
        ("size", {"size": CHUNK + 1}),
        ("batch_size", {"batch_size": 0}),
        ("num_classes", {"num_classes": 1}),
        ("stage", {"stage": "Third stage"}),
        ("number", {"number": -1}),
        ("key", {"key": b""}),
        ("classifier", {"num_classes": 4}),
    ],
)
def test_refusals_name_the_argument(name: str, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        count_chunk(Recorder(), X, **CALL | change)


@pytest.mark.parametrize("x", [X.double(), X.half(), X.int(), torch.empty(0)])
def test_refuses_inputs_it_cannot_add_noise_to(x: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"^x: "):
        count_chunk(Recorder(), x, **CALL)


def test_refuses_a_module_in_training_mode() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.BatchNorm1d(3)).eval()
    count_chunk(net, X, **CALL)
    net[2].train()
    with pytest.raises(ValueError, match=r"^classifier: .*eval"):
        count_chunk(net, X, **CALL)


@pytest.mark.parametrize(
    ("name", "change"),
    [("n", {"n": 9}), ("n", {"n": 10**10}), ("n", {"n": 0}), ("n0", {"n0": 0}), ("alpha", {"alpha": 1.0})],
)
def test_certify_refuses_before_it_samples(name: str, change: dict[str, Any]) -> None:
    recorder = Recorder()
    call: dict[str, Any] = {"num_classes": 3, "noise": gaussian(0.5), "alpha": 0.001, "n0": 10, "n": 100, "key": KEY}
    with pytest.raises(ValueError, match=f"^{name}: "):
        certify(recorder, X, **call | change)
    assert recorder.seen == []


def test_certify_is_its_chunks_and_reproducible() -> None:
    call: dict[str, Any] = {"num_classes": 3, "noise": gaussian(0.5), "key": KEY}
    rows = [certify(Recorder(), X, alpha=0.001, n0=100, n=2500, batch_size=b, **call) for b in (37, 1000)]
    assert rows[0] == rows[1]
    chunks = [
        count_chunk(Recorder(), X, stage="estimate", number=i, size=size, batch_size=50, **call)
        for i, size in ((2, 500), (0, 1000), (1, 1000))
    ]
    assert rows[0].counts == tuple(np.sum(chunks, axis=0).tolist())
    pilot = count_chunk(Recorder(), X, stage="pilot", number=0, size=100, batch_size=50, **call)
    assert rows[0].pilot_counts == tuple(pilot.tolist())
    assert rows[0].n == 2500


def test_radii_of_a_linear_classifier() -> None:
    """The smoothed linear classifier is known: its radius is the distance to the boundary, exactly.

    Fixed keys. With others, each of the 10 radii would exceed the exact one with chance at most alpha = 1e-3, and
    fall below 0.9 of it with chance below 1e-5 (4.3 standard deviations at the shortest, more elsewhere).
    """
    sigma, dimension = 0.5, 20
    generator = torch.Generator().manual_seed(0)
    for i, ratio in enumerate(np.linspace(0.3, 2.0, 10)):
        w = torch.randn(dimension, generator=generator, dtype=torch.float64)
        x = torch.randn(dimension, generator=generator)
        exact = ratio * sigma
        # Class 1 where w.x + b > 0, with x at distance `exact` on that side.
        b = float(exact * w.norm() - w @ x.double())
        net = nn.Linear(dimension, 2).eval()
        with torch.no_grad():
            net.weight[:] = torch.stack([torch.zeros_like(w), w])
            net.bias[:] = torch.tensor([0.0, b])
        key = hashlib.sha256(bytes([i])).digest()
        row = certify(
            net, x, num_classes=2, noise=gaussian(sigma), alpha=0.001, n0=100, n=100_000, key=key, batch_size=1000
        )
        assert row.prediction == 1
        assert 0.9 * exact <= row.radius <= exact


def test_decisions_about_a_linear_classifier() -> None:
    """12 inputs around the target, 15 % away and more, whose exact radius is the distance to the boundary.

    Fixed keys. With others, each decision would be false, or undecided, with chance at most 2e-3.
    """
    sigma, target, dimension = 0.5, 0.4, 20
    generator, taken = torch.Generator().manual_seed(1), 0
    for i, ratio in enumerate([0.2, 0.4, 0.6, 0.7, 0.8, 0.85, 1.15, 1.2, 1.3, 1.5, 2.0, 4.0]):
        w = torch.randn(dimension, generator=generator, dtype=torch.float64)
        x = torch.randn(dimension, generator=generator)
        b = float(ratio * target * w.norm() - w @ x.double())
        net = nn.Linear(dimension, 2).eval()
        with torch.no_grad():
            net.weight[:] = torch.stack([torch.zeros_like(w), w])
            net.bias[:] = torch.tensor([0.0, b])
        ask: dict[str, Any] = {
            "noise": gaussian(sigma),
            "alpha": 0.001,
            "n0": 100,
            "n": 50_000,
            "target_radius": target,
        }
        row = certify(net, x, num_classes=2, key=hashlib.sha256(bytes([i])).digest(), batch_size=1000, **ask)
        assert (row.pilot_class, row.decision) == (1, "certified" if ratio > 1 else "not certified")
        assert row.prediction == (1 if ratio > 1 else None)
        assert row.radius == (target if ratio > 1 else None)
        taken += row.n
    assert taken < 12 * 50_000 / 10


@pytest.mark.parametrize("target", [0.25, 0.5])
def test_decisions_about_digits(target: float) -> None:
    """10 inputs, fixed keys: what 10,000 samples certify in mode radius a decision does with at most 100,000, and so
    it did of all 450 of either network (``benchmarks.decide``)."""
    net, n = to_module(read_onnx((EXAMPLES / "digits.onnx").read_bytes())).eval(), 100_000
    taken = certified = 0
    for x in np.load(EXAMPLES / "digits.npz")["x"][60:70]:
        key = noise_key(bytes(32), model_digest="m", input_digest=input_digest(x), noise="gaussian", sigma=0.25)
        ask: dict[str, Any] = {"num_classes": 10, "noise": gaussian(0.25), "alpha": 0.001, "n0": 100, "key": key}
        radius = certify(net, torch.from_numpy(x), n=10_000, **ask).radius
        row = certify(net, torch.from_numpy(x), n=n, target_radius=target, **ask)
        taken += row.n
        if radius is not None and radius >= target:
            certified += 1
            assert row.decision == "certified"
    assert certified >= 5
    assert taken < 10 * n / 10


def test_memory_does_not_grow_with_n() -> None:
    """In a process of its own: 60,000 noisy copies would be 737 MB, and a buffer of 100 of them is 1.2."""
    script = """
import resource, torch
from radii.smoothing import certify, gaussian
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
torch.set_num_threads(1)
weight = torch.ones(3072, 2)
call = dict(num_classes=2, noise=gaussian(0.25), alpha=0.001, n0=100, key=bytes(32))
classify = lambda x: x.flatten(1) @ weight
certify(classify, torch.zeros(3, 32, 32), n=2000, **call)
before = peak()
certify(classify, torch.zeros(3, 32, 32), n=60_000, **call)
print(peak() - before)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 2**14  # KiB
