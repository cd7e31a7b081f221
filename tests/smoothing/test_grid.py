import hashlib
import itertools
import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy import stats
from torch.utils._python_dispatch import TorchDispatchMode

from radii.laws import LAWS
from radii.smoothing import certify, count_chunk, grid_of, noise_key
from radii.smoothing.noise.grid import Grid, _table

SEED = hashlib.sha256(b"tests of the grid").digest()


def draw(noise: Grid, x: torch.Tensor, *sizes: int, seed: bytes = SEED) -> torch.Tensor:
    fill = noise.stream(seed, x)
    parts = [torch.full((size, *x.shape), math.nan) for size in sizes]
    for part in parts:
        fill(part)
    return torch.cat(parts)


def pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape)).float() / 255


@pytest.mark.parametrize(
    ("sigma", "low", "high"), [(0.25, 0.0, 1.0), (0.01, 0.0, 1.0), (40.0, 0.0, 255.0), (1.0, -1.0, 1.0)]
)
def test_samples_are_whole_steps_whose_values_are_the_grids(sigma: float, low: float, high: float) -> None:
    steps = torch.arange(256)
    noise = grid_of("gaussian", sigma, low, high)
    x = (steps.float() / 255 * (high - low) + low) if high - low != 255 else steps.float()
    found = noise.steps(x)
    assert found is not None and found.tolist() == list(range(256))
    noisy = (draw(noise, x, 200).double() - low) * 255 / (high - low)
    assert (noisy - noisy.round()).abs().max() < 1e-4
    spread = (noisy - steps).std().item()
    # the variance of a rounded Gaussian is s^2 + 1/12 but for tiny s; 6 deviations of an estimate from 51,200 values
    expected = math.sqrt((sigma * 255 / (high - low)) ** 2 + 1 / 12)
    assert abs(spread / expected - 1) < 6 / math.sqrt(2 * 51_200)


class DivisionOfAGpu(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Division as CUDA does it (ATen's BinaryDivTrueKernel.cu): by a number, times the reciprocal."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.div_.Tensor and not isinstance(args[1], torch.Tensor):
            return args[0].mul_(torch.tensor(1 / args[1], dtype=args[0].dtype))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.0, 255.0), (-1.0, 1.0), (0.1, 3.7)])
def test_a_gpu_has_the_same_grid(low: float, high: float) -> None:
    """Else it would refuse what lies on the one of the CPU."""
    noise = grid_of("gaussian", (high - low) / 4, low, high)
    steps = torch.arange(256)
    noise.values(steps, here := torch.empty(256))
    with DivisionOfAGpu():  # type: ignore[no-untyped-call]
        noise.values(steps, there := torch.empty(256))
        assert torch.equal(here, there)
        found = noise.steps(here)
        assert found is not None and found.tolist() == steps.tolist()


def test_the_stream_is_the_one_that_certificates_name() -> None:
    """The same on every processor. Should numpy change SFC64 (NEP 19), this digest and every key change with it."""
    assert grid_of("gaussian", 0.5).name == "grid-gaussian/255/sfc64-table/8f1c8e255c240ac2"


@pytest.mark.parametrize("shape", [(1,), (5,), (3, 4, 7), (3, 32, 32)])
def test_samples_do_not_depend_on_how_they_are_drawn(shape: tuple[int, ...]) -> None:
    noise, x = grid_of("gaussian", 0.25), pixels(*shape)
    whole = draw(noise, x, 130)
    for sizes in ([1] * 130, [7] * 18 + [4], [100, 30], [129, 1]):
        assert torch.equal(draw(noise, x, *sizes), whole)
    assert torch.equal(draw(noise, x, 41), whole[:41])


CDFS = {
    "gaussian": mp.ncdf,
    "uniform": lambda z: min(max(mp.mpf("0.5") + z / (2 * mp.sqrt(3)), 0), 1),
    "laplace": lambda z: mp.exp(mp.sqrt(2) * z) / 2 if z < 0 else 1 - mp.exp(-mp.sqrt(2) * z) / 2,
}


@pytest.mark.parametrize("law", CDFS)
@pytest.mark.parametrize("scale", [0.3, 2.55, 30.6, 63.75, 255.0, 1000.0])
def test_table_is_the_law_of_a_rounded_value(scale: float, law: str) -> None:
    """The shares that the table gives, summed cell by cell, against 30-digit probabilities."""
    table = _table(scale, LAWS[law])
    ends = [mp.mpf(float(end)) for end in table.ends[:-1]]
    given = [b - a for a, b in zip([mp.mpf(0), *ends], [*ends, mp.mpf(1)], strict=True)]
    with mp.workdps(30):
        values = range(-table.most, table.most + 1)
        ends = [CDFS[law]((v - mp.mpf("0.5")) / scale) for v in [*values, table.most + 1]]
        exact = [b - a for a, b in itertools.pairwise(ends)]
    distance = mp.fsum(abs(a - b) for a, b in zip(given, exact, strict=True)) / 2
    assert distance < grid_of(law, scale / 255).tail_mass(1) / 2  # the other half: u's last bits
    closed = np.flatnonzero(table.value != -(2**15))
    value = table.value[closed].astype(int)
    assert (table.ends[value + table.most] * 65536 >= closed + 1).all()
    assert (table.ends[np.maximum(value + table.most - 1, 0)] * 65536 <= closed)[value > -table.most].all()


SCIPY = {
    "gaussian": stats.norm(),
    "uniform": stats.uniform(-math.sqrt(3), 2 * math.sqrt(3)),
    "laplace": stats.laplace(scale=math.sqrt(0.5)),
}


@pytest.mark.parametrize("law", SCIPY)
@pytest.mark.parametrize("sigma", [0.004, 0.12, 1.0])
def test_values_follow_the_law(sigma: float, law: str) -> None:
    """Fixed seed; chi-square over all values that are expected 20 times: a right source fails with chance 1e-6."""
    noise, x, cdf = grid_of(law, sigma), torch.zeros(1000), SCIPY[law].cdf
    drawn = (draw(noise, x, 1000) * 255).round().flatten().numpy().astype(int)
    scale = sigma * 255
    bins = np.arange(-math.ceil(5 * scale), math.ceil(5 * scale) + 1)
    shares = cdf((bins + 0.5) / scale) - cdf((bins - 0.5) / scale)
    kept = shares * len(drawn) > 20
    counts = np.array([(drawn == v).sum() for v in bins[kept]])
    rest = len(drawn) - counts.sum(), len(drawn) * max(0.0, 1 - shares[kept].sum())
    observed, expected = np.append(counts, rest[0]), np.append(shares[kept] * len(drawn), rest[1])
    useful = expected > 5
    chi2 = ((observed - expected)[useful] ** 2 / expected[useful]).sum()
    assert stats.chi2.sf(chi2, useful.sum() - 1) > 1e-6


def test_tails_are_full() -> None:
    noise, x = grid_of("gaussian", 1.0), torch.zeros(1_000_000)
    beyond = total = 0
    fill, part = noise.stream(SEED, x), torch.empty(1, 1_000_000)
    for _ in range(20):
        fill(part)
        beyond += int((part.abs() > 4.5).sum())
        total += part.numel()
    expected = total * 2 * stats.norm.sf((math.floor(4.5 * 255) + 0.5) / 255)
    assert abs(beyond - expected) < 5 * math.sqrt(expected)  # 130 or so, fixed seed


def test_all_256_bits_of_the_seed_are_used() -> None:
    x = torch.zeros(64)
    first = draw(grid_of("gaussian", 1.0), x, 4)
    for bit in range(256):
        flipped = bytearray(SEED)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not torch.equal(draw(grid_of("gaussian", 1.0), x, 4, seed=bytes(flipped)), first)


def test_what_is_not_on_the_grid_is_refused() -> None:
    noise = grid_of("gaussian", 0.25)
    for x in (torch.tensor([0.5]), torch.tensor([1.01]), torch.tensor([-1 / 255]), torch.tensor([math.nan])):
        assert noise.steps(x) is None
        with pytest.raises(ValueError, match=r"^x: "):
            noise.stream(SEED, x)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf, 16.0])
def test_a_deviation_without_a_table_is_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match=r"^sigma: "):
        grid_of("gaussian", sigma)


def test_counts_and_radius_of_a_linear_classifier() -> None:
    """A half-space on the grid: the exact probability is a binomial's parameter; 5 deviations, fixed key."""
    x = torch.full((1, 4, 4), 100 / 255)

    def classifier(batch: torch.Tensor) -> torch.Tensor:
        mean = batch.flatten(1).double().mean(1)
        return torch.stack([mean - 104.25 / 255, 104.25 / 255 - mean], 1)

    key = noise_key(bytes(32), model_digest="m", input_digest="x", noise=grid_of("gaussian", 0.1).name, sigma=0.1)
    noise = grid_of("gaussian", 0.1)
    ask: dict[str, Any] = {"num_classes": 2, "noise": noise, "key": key}
    chunks = [
        count_chunk(classifier, x, stage="estimate", number=i, size=1000, batch_size=250, **ask) for i in range(40)
    ]
    counts = np.sum(chunks, axis=0)
    # The mean of 16 rounded values is above 4.25 steps: the sum of 16 is 69 or more. Each has variance s^2 + 1/12.
    deviation = math.sqrt(16 * ((0.1 * 255) ** 2 + 1 / 12))
    p = stats.norm.sf((4.25 * 16) / deviation)
    assert abs(counts[0] - 40_000 * p) < 5 * math.sqrt(40_000 * p * (1 - p))
    row = certify(classifier, x, alpha=0.001, n0=100, n=20_000, **ask)
    assert row.prediction == 1
    assert row.radius is not None
    assert 0 < row.radius <= 4.25 / 255 * 4  # the distance to the boundary: mean weight 1/16, norm 1/4
