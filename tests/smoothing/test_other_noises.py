"""l1 radii."""

import itertools
import math
from collections.abc import Callable

import mpmath as mp
import pytest
from scipy import stats

from radii.smoothing.l1 import radius_laplace, radius_splitting, radius_uniform
from radii.smoothing.radius import miss_upper


@pytest.mark.parametrize(("count", "n"), [(600, 1000), (990, 1000), (1000, 1000), (99_999, 100_000)])
def test_formulas_rounded_down(count: int, n: int) -> None:
    q = mp.mpf(miss_upper(count, n, 0.001))
    uniform, laplace = 2 * mp.mpf("0.3") * (mp.mpf("0.5") - q), -mp.mpf("0.3") * mp.log(2 * q)
    assert 0 <= uniform - radius_uniform(count, n, alpha=0.001, width=0.3) < 2e-6
    assert 0 <= laplace - radius_laplace(count, n, alpha=0.001, scale=0.3) < 2e-6


def test_one_dimension_is_exact() -> None:
    """A half-line classifier in one dimension attains both radii: its probability at the radius is one half."""
    for count in (600, 800, 990):
        q = miss_upper(count, 1000, 0.001)
        # the half-line that noise misses with probability q ends at the noise's quantile
        uniform, laplace = stats.uniform(-0.5, 1.0).isf(q), stats.laplace(scale=0.3).isf(q)
        assert 0 <= uniform - radius_uniform(count, 1000, alpha=0.001, width=0.5) < 2e-6
        assert 0 <= laplace - radius_laplace(count, 1000, alpha=0.001, scale=0.3) < 2e-6


def test_abstains() -> None:
    assert radius_uniform(500, 1000, alpha=0.001, width=1.0) is None
    assert radius_laplace(0, 1000, alpha=0.001, scale=1.0) is None


def test_splitting_against_every_perturbation() -> None:
    """Two features, 7 grid values, 4 offsets: the winner does not change within the radius."""
    levels, offsets, shifts = 7, 4, (0, 2)
    splits = list(itertools.product(range(levels), repeat=2))
    for seed in range(40):

        def votes(x: tuple[int, ...], seed: int = seed) -> list[int]:
            counts = [0, 0, 0]
            for offset in range(offsets):
                # what an offset lets through of a feature: which of the intervals between its splits it lies in
                seen = tuple(
                    (value - (offset + shift) % offsets) // offsets for value, shift in zip(x, shifts, strict=True)
                )
                counts[hash((seed, offset, *seen)) % 3] += 1
            return counts

        def winner(counts: list[int]) -> int:
            return counts.index(max(counts))

        for x in splits:
            counts = votes(x)
            top = winner(counts)
            radii = [
                radius_splitting(counts[top], other, runner_up_before=j < top)
                for j, other in enumerate(counts)
                if j != top
            ]
            steps = round(min(radius or 0 for radius in radii) * 255)
            for y in splits:
                if sum(abs(a - b) for a, b in zip(x, y, strict=True)) <= steps:
                    assert winner(votes(y)) == top


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("width", lambda: radius_uniform(1, 2, alpha=0.1, width=0.0)),
        ("scale", lambda: radius_laplace(1, 2, alpha=0.1, scale=math.nan)),
        ("count", lambda: radius_uniform(3, 2, alpha=0.1, width=1.0)),
        ("alpha", lambda: radius_laplace(1, 2, alpha=0.0, scale=1.0)),
        ("count", lambda: radius_splitting(-1, 2, runner_up_before=False)),
    ],
)
def test_refusals_name_the_argument(name: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        call()
