import hashlib
import time
from collections.abc import Callable

import pytest
import torch

from radii.laws import LAWS, LawName
from radii.smoothing import Grid, grid_of, noise_of
from radii.smoothing.noise import Fill
from radii.smoothing.noise.floating import Floating
from radii.smoothing.noise.selftest import BrokenNoise, check_noise

NAMES = sorted(LAWS)
Spoil = Callable[[torch.Tensor], torch.Tensor]


@pytest.mark.parametrize("law", NAMES)
def test_healthy_sources_pass(law: LawName) -> None:
    for sigma in (0.001, 0.1, 2.0):  # on the grid: a quarter of a step, 25, 510
        check_noise(noise_of(law, sigma))
        check_noise(grid_of(law, sigma))
    check_noise(grid_of(law, 30.0, 0.0, 255.0))


def test_it_is_quick() -> None:
    started = time.process_time()
    check_noise(grid_of("gaussian", 0.25))
    assert time.process_time() - started < 2.0  # 0.2 s on an idle core


class Broken(Floating):
    """Box-Muller, and what ``spoil`` makes of its samples, of shape (samples, axes), in deviations."""

    def __init__(self, spoil: Spoil) -> None:
        super().__init__(LAWS["gaussian"], 0.25)
        self.spoil = spoil

    def stream(self, seed: bytes, x: torch.Tensor) -> Fill:
        fill = super().stream(seed, x)

        def spoilt(out: torch.Tensor) -> None:
            fill(out)
            out.copy_(self.spoil(out / self.sigma) * self.sigma)

        return spoilt


class SameForAllSeeds(Floating):
    def stream(self, seed: bytes, x: torch.Tensor) -> Fill:
        return super().stream(bytes(32), x)


def repeated(z: torch.Tensor) -> torch.Tensor:
    z[1::2] = z[0::2]
    return z


def smooth(z: torch.Tensor) -> torch.Tensor:
    return (z + 0.05 * z.roll(1, 1)) / (1 + 0.05**2) ** 0.5


def volatile(z: torch.Tensor) -> torch.Tensor:
    """Uncorrelated values whose magnitudes are alike."""
    z[:, 1::2] = z[:, 0::2].abs() * z[:, 1::2].sign()
    return z


def one_not_finite(z: torch.Tensor) -> torch.Tensor:
    z[3, 3] = torch.inf
    return z


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda z: z.clamp(-4.2, 4.2), "upper tail, lower tail"),
        (lambda z: torch.where(z > 4.2, -z, z), "upper tail"),
        (lambda z: torch.where(z.abs() > 4, z * 3, z), "upper reach, lower reach"),
        (lambda z: z * 1.02, "moment 2"),
        (lambda z: z * 0.98, "moment 2"),
        (lambda z: z + 0.02, "moment 1"),
        (lambda z: torch.where(z.abs() < 0.01, 0.0, z).half().float().mul(8).round().div(8), "Anderson-Darling"),
        (repeated, "successive samples"),
        (smooth, "neighbouring values"),
        (volatile, "magnitudes of neighbouring values"),
        (one_not_finite, "finite values"),
    ],
)
def test_broken_sources_are_caught(spoil: Spoil, named: str) -> None:
    with pytest.raises(BrokenNoise, match=named):
        check_noise(Broken(spoil))


def test_streams_that_meet_are_caught() -> None:
    with pytest.raises(BrokenNoise, match=r"sigma = 1\.0: streams of two seeds, magnitudes .* differ from gaussian"):
        check_noise(SameForAllSeeds(LAWS["gaussian"], 1.0))


@pytest.mark.parametrize("law", NAMES)
def test_another_law_or_a_table_of_another_deviation_is_caught(law: str) -> None:
    other = "laplace" if law == "gaussian" else "gaussian"
    for source_of in (grid_of, noise_of):
        source = source_of(other, 0.1)
        noise = source_of(law, 0.1)
        noise.stream = source.stream  # type: ignore[method-assign]
        with pytest.raises(BrokenNoise, match="Anderson-Darling"):
            check_noise(noise)
        noise.stream = source_of(law, 0.103).stream  # type: ignore[method-assign]
        with pytest.raises(BrokenNoise, match="Anderson-Darling"):
            check_noise(noise)


def test_false_alarms_are_rare() -> None:
    """A right source under 24 other seeds: 15 checks of 8 sources, each with chance 1e-10."""

    class Reseeded(Grid):
        number = 0

        def stream(self, seed: bytes, x: torch.Tensor) -> Fill:
            return super().stream(hashlib.sha256(seed + bytes([self.number])).digest(), x)

    for number in range(8):
        noise = Reseeded(LAWS["gaussian"], 0.1)
        noise.number = number
        check_noise(noise)
