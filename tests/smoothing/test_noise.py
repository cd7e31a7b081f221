import hashlib
import math

import numpy as np
import pytest
import torch
from scipy import stats

from radii.laws import LAWS
from radii.laws.base import COARSE
from radii.smoothing import Noise, gaussian, grid_of, noise_of
from radii.smoothing.noise import Part, floating
from radii.smoothing.noise.base import sfc64
from radii.smoothing.noise.floating import Floating
from radii.smoothing.noise.grid import Grid

SEED = hashlib.sha256(b"tests of the noise").digest()
SOURCES = [noise_of("gaussian", 1.0), noise_of("laplace", 1.0)]


def draw(source: Noise, seed: bytes, shape: tuple[int, ...], *sizes: int) -> torch.Tensor:
    fill = source.stream(seed, torch.zeros(shape))
    parts = [torch.full((size, *shape), math.nan) for size in sizes]
    for part in parts:
        fill(part)
    return torch.cat(parts)


def test_values_are_box_muller_of_the_raw_bits() -> None:
    """Against float64, value by value: what float32 loses is a few of its last bits."""
    values = np.empty(2**15, np.float32)
    LAWS["gaussian"].values(sfc64(SEED), values)
    raw = sfc64(SEED).random_raw(2**14 + 2**13)
    u = np.abs(raw[: 2**14].view(np.int64).astype(np.float64)) * 2.0**-63
    v = raw[2**14 :].view(np.int32) * (math.pi * 2.0**-31)
    distance = np.sqrt(-2 * np.log(u))
    exact = np.concatenate([distance * np.cos(v), distance * np.sin(v)])
    assert np.abs(values - exact).max() < 3e-6


def test_noise_is_around_x_with_the_asked_deviation() -> None:
    x = torch.linspace(-3, 5, 6).view(2, 3)
    plain, fill = draw(noise_of("gaussian", 1.0), SEED, (2, 3), 300), noise_of("gaussian", 0.25).stream(SEED, x)
    fill(noisy := torch.empty(300, 2, 3))
    assert torch.allclose(noisy, plain * 0.25 + x, atol=1e-6)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("shape", [(), (5,), (3, 4, 7)])
def test_samples_do_not_depend_on_how_they_are_drawn(source: Floating, shape: tuple[int, ...]) -> None:
    whole = draw(source, SEED, shape, 230)
    assert whole.isfinite().all()
    for sizes in ([1] * 230, [7] * 32 + [6], [100, 100, 30], [229, 1]):
        assert torch.equal(draw(source, SEED, shape, *sizes), whole)
    for fewer in (1, 49, 50, 51, 128):
        assert torch.equal(draw(source, SEED, shape, fewer), whole[:fewer])


@pytest.mark.parametrize("source", [*SOURCES, noise_of("uniform", 0.5), grid_of("gaussian", 0.25)])
@pytest.mark.parametrize("batch_size", [1, 7, 60, 200])
def test_parts_in_one_stream_are_each_what_it_is_alone(source: Floating | Grid, batch_size: int) -> None:
    inputs = torch.randint(0, 256, (3, 2, 5)) / 255
    parts = [
        Part(hashlib.sha256(bytes([i])).digest(), x, size)
        for i, (x, size) in enumerate(zip(inputs, (60, 3, 57), strict=True))
    ]
    fill, together = source.streams(parts), torch.full((130, 2, 5), -1.0)
    for start in range(0, 130, batch_size):
        fill(together[start : start + batch_size])
    assert (together[120:] == -1).all()
    for part, copies in zip(parts, together[:120].tensor_split([60, 63]), strict=True):
        alone = torch.empty_like(copies)
        source.stream(part.seed, part.x)(alone)
        assert torch.equal(copies, alone)


@pytest.mark.parametrize("source", SOURCES)
def test_another_seed_is_another_stream(source: Floating) -> None:
    seeds = [hashlib.sha256(bytes([i])).digest() for i in range(40)]
    rows = torch.stack([draw(source, seed, (), 4000) for seed in seeds])
    correlation = torch.corrcoef(rows.double()) - torch.eye(40)
    # 780 pairs of standard deviation 1/sqrt(4000): 6 of them are passed by chance once in 6e5 tests.
    assert correlation.abs().max() < 6 / math.sqrt(4000)


def test_all_256_bits_of_the_seed_are_used() -> None:
    first = draw(noise_of("gaussian", 1.0), SEED, (), 64)
    for bit in range(256):
        flipped = bytearray(SEED)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not torch.equal(draw(noise_of("gaussian", 1.0), bytes(flipped), (), 64), first)


def test_values_are_standard_normal() -> None:
    """Fixed seed. With another, each of the six checks would fail a right source with chance below 1e-6."""
    z = draw(noise_of("gaussian", 1.0), SEED, (), 4_000_000).double().numpy()
    assert stats.kstest(z, "norm").pvalue > 1e-6
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((z**power).mean() - moment) < 5 * math.sqrt(variance / len(z))
    lagged = np.corrcoef(z[:-1], z[1:])[0, 1]
    assert abs(lagged) < 5 / math.sqrt(len(z))


def test_tails_are_full() -> None:
    """Fixed seed; each check would fail a right source with chance about 1e-6, the last one with chance 0.2."""
    total, fill = 0, noise_of("gaussian", 1.0).stream(SEED, torch.zeros(()))
    part, beyond = torch.empty(2_000_000), []
    for _ in range(100):
        fill(part)
        total += len(part)
        beyond.append(part[part.abs() > 4].double().numpy())
    tail = np.concatenate(beyond)
    expected = total * 2 * stats.norm.sf(4)
    assert abs(len(tail) - expected) < 5 * math.sqrt(expected)
    assert abs((tail > 0).sum() - len(tail) / 2) < 5 * math.sqrt(len(tail)) / 2
    assert stats.kstest(stats.norm.sf(np.abs(tail)) / stats.norm.sf(4), "uniform").pvalue > 1e-6
    assert np.abs(tail).max() > 5.77  # torch's CPU generator never gets here


def test_tail_mass_bounds_what_is_drawn_coarsely_or_never() -> None:
    """From u = m 2^-63 to the furthest U that it stands for a logarithm moves no more than by float32's rounding of u,
    unless m is small. All beyond counts as missing: of a pair's distance from 0, or of a value's."""
    least = COARSE * 2.0**63
    assert np.log1p(0.5 / least) <= 2.0**-25 < np.log1p(0.5 / (least / 2))
    for source, law, distance in (
        (noise_of("gaussian", 1.0), stats.chi(2), math.sqrt(-2 * math.log(COARSE))),
        (noise_of("laplace", 1.0), stats.expon(), -math.log(COARSE)),
    ):
        assert law.sf(distance) * (1 - 1e-9) <= source.tail_mass(1) < 1e-11
        assert source.tail_mass(1) < source.tail_mass(2) < source.tail_mass(3) < source.tail_mass(3072) < 1e-8


class OneSmall:
    """Words that are all alike, but for one."""

    def __init__(self, place: int | None) -> None:
        self.place = place

    def random_raw(self, size: int) -> np.ndarray:
        words = np.full(size, 2**62, np.uint64)
        if self.place is not None:
            words[self.place] = 5
        return words


@pytest.mark.parametrize("dimension", [1, 2, 6, 7, 33, 64, 100])
@pytest.mark.parametrize("source", [noise_of("gaussian", 1.0), noise_of("laplace", 1.0)])
def test_tail_mass_is_of_every_logarithm_that_a_sample_takes(
    source: Floating, dimension: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Box and Muller's pairs are of two samples where a tile holds several: a sample has as many as it has values."""
    monkeypatch.setattr(floating, "TILE", 64)
    samples = max(1, 64 // dimension)
    values = 2 * -(-samples * dimension // 2)
    logarithms = values // 2 if source.law == "gaussian" else values

    def drawn(place: int | None) -> torch.Tensor:
        monkeypatch.setattr(floating, "sfc64", lambda seed: OneSmall(place))
        out = torch.empty((samples, dimension))
        source.stream(SEED, torch.zeros(dimension))(out)
        return out

    usual = drawn(None)
    taken = torch.stack([(drawn(place) != usual).any(1).int() for place in range(logarithms)]).sum(0)
    assert taken.max() >= dimension / 2
    assert taken.max() * COARSE <= source.tail_mass(dimension)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
def test_a_deviation_must_be_positive(sigma: float) -> None:
    with pytest.raises(ValueError, match=r"^sigma: "):
        gaussian(sigma)
