import math
import random
from typing import Any

import mpmath as mp
import numpy as np
import pytest

from radii.smoothing.scores import Moments, bernstein_interval
from tests.acceptance import load


@pytest.mark.parametrize("case", load("smoothing_exact")["cases"]["empirical_bernstein"])
def test_matches_60_digit_arithmetic(case: dict[str, Any]) -> None:
    lower, upper = bernstein_interval(
        float(case["mean"]), float(case["sample_var_unbiased"]), case["n"], delta=float(case["delta"])
    )
    assert 0 <= mp.mpf(case["lower"]) - lower < 1e-12
    assert 0 <= upper - mp.mpf(case["upper"]) < 1e-12


@pytest.mark.parametrize(("p", "n", "delta"), [(0.5, 40, 0.1), (0.99, 200, 0.05), (0.9, 1000, 0.001), (1e-3, 300, 0.2)])
def test_coverage_by_enumeration_of_two_valued_scores(p: float, n: int, delta: float) -> None:
    """Scores 0 and 1: every count with its exact probability."""
    low = high = 0.0
    for k in range(n + 1):
        mean = k / n
        lower, upper = bernstein_interval(mean, n / (n - 1) * mean * (1 - mean), n, delta=delta)
        mass = math.exp(
            math.lgamma(n + 1)
            - math.lgamma(k + 1)
            - math.lgamma(n - k + 1)
            + k * math.log(p)
            + (n - k) * math.log1p(-p)
        )
        low, high = low + mass * (lower > p), high + mass * (upper < p)
    assert low <= delta
    assert high <= delta


def test_extremes_are_numbers_in_the_unit_interval() -> None:
    for mean in (0.0, 1e-300, 0.5, 1.0):
        for n in (2, 10**9):
            for delta in (1e-300, 1 - 1e-12):
                lower, upper = bernstein_interval(mean, 0.0, n, delta=delta)
                assert 0 <= lower <= mean <= upper <= 1


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mean", {"mean": 1.5}),
        ("mean", {"mean": math.nan}),
        ("variance", {"variance": -1e-3}),
        ("variance", {"variance": 0.3}),
        ("variance", {"variance": math.nan}),
        ("n", {"n": 1}),
        ("n", {"n": 2.5}),
        ("delta", {"delta": 0.0}),
    ],
)
def test_refusals_name_the_argument(name: str, change: dict[str, Any]) -> None:
    arguments = {"mean": 0.5, "variance": 0.1, "n": 100, "delta": 0.01} | change
    with pytest.raises(ValueError, match=f"^{name}: "):
        bernstein_interval(arguments.pop("mean"), arguments.pop("variance"), arguments.pop("n"), **arguments)


def test_moments_merge_like_exact_arithmetic_in_any_order() -> None:
    rng, order = np.random.default_rng(0), random.Random(0)
    scores = 1 - 1e-6 * rng.random((5000, 3)).astype(
        np.float32
    )  # near-certain: a naive sum of squares has no digit left
    pieces = np.split(scores, sorted(order.sample(range(1, 5000), 20)))
    order.shuffle(pieces)
    merged = Moments.of(pieces[0])
    for piece in pieces[1:]:
        merged = merged.merge(Moments.of(piece))
    assert merged.n == 5000
    for column, mean, variance in zip(scores.T, merged.mean, merged.variance, strict=True):
        values = [mp.mpf(float(v)) for v in column]
        exact = mp.fsum(values) / 5000
        assert abs(mean - exact) < 1e-15
        assert variance == pytest.approx(float(mp.fsum((v - exact) ** 2 for v in values) / 4999), rel=1e-7)
