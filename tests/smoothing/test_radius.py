import math
import random
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import mpmath as mp
import pytest

from radii.smoothing.radius import (
    MAX_N,
    minimum_n,
    miss_upper,
    probability_lower,
    radius_one_sided,
    radius_two_sided,
)
from tests.acceptance import load
from tests.smoothing.binomial import log_tail

EXACT = load("smoothing_exact")["cases"]
COHEN = load("cohen_radii")["rows"]


def assert_just_below(radius: float | None, case: dict[str, str]) -> None:
    if case["abstain"]:
        assert radius is None
    else:
        assert radius is not None
        assert mp.mpf(case["radius"]) - mp.mpf("2e-6") <= radius <= mp.mpf(case["radius"])


@pytest.mark.parametrize("case", EXACT["one_sided"])
def test_one_sided_matches_60_digit_arithmetic(case: dict[str, Any]) -> None:
    alpha = float(case["alpha"])
    radius = radius_one_sided(case["k"], case["n"], alpha=alpha, sigma=float(case["sigma"]))
    assert_just_below(radius, case)
    p = probability_lower(case["k"], case["n"], alpha=alpha)
    assert mp.mpf(case["pL"]) - mp.mpf("2.1e-9") <= p <= mp.mpf(case["pL"])


@pytest.mark.parametrize("case", EXACT["two_sided"])
def test_two_sided_matches_60_digit_arithmetic(case: dict[str, Any]) -> None:
    radius = radius_two_sided(
        case["kA"], case["max_other"], case["n"], alpha=float(case["alpha"]), sigma=float(case["sigma"])
    )
    assert_just_below(radius, case)


@pytest.mark.parametrize("row", COHEN, ids=lambda row: f"{row['file']}-{row['idx']}")
def test_reproduces_the_published_radii(row: dict[str, Any]) -> None:
    radius = radius_one_sided(row["implied_count"], row["n"], alpha=row["alpha"], sigma=row["sigma"])
    assert row["expected_radius"] - 2e-6 <= radius <= row["expected_radius"] + 1e-11  # printed to 12 digits
    for count in (row["k_min"], row["k_max"]):
        radius = radius_one_sided(count, row["n"], alpha=row["alpha"], sigma=row["sigma"])
        # Rounding down may cost the last printed digit where the range of counts begins.
        assert radius is not None and row["printed_str"] in (f"{radius:.3}", f"{radius + 1.1e-6:.3}")


def questions(seed: int, number: int) -> Iterator[tuple[int, int, float]]:
    """Random (k, n, alpha): n to 10^9, k anywhere and near both ends, alpha to 1e-200 and near 1."""
    rng = random.Random(seed)
    for _ in range(number):
        n = round(10 ** rng.uniform(0, 9))
        near = int(10 ** rng.uniform(0, math.log10(n)))
        k = rng.choice([rng.randint(1, n), max(1, n - near), max(1, n - rng.randint(0, 30)), min(n, near), n])
        alpha = rng.choice([10 ** rng.uniform(-15, -0.3), 10 ** rng.uniform(-200, -15), rng.uniform(0.3, 0.999)])
        yield k, n, alpha


def test_bound_is_on_the_safe_side_of_exact_and_close() -> None:
    judged = 0
    for k, n, alpha in questions(1, 250):
        q = miss_upper(k, n, alpha)
        assert 0 < q <= 1
        p = 1 - mp.mpf(q)
        if p >= mp.mpf(k) / n:
            assert alpha > 0.3  # past the mean, where the truth below does not reach
            continue
        judged += 1
        if q == 1:
            assert log_tail(min(mp.mpf("1e-8"), mp.mpf(k) / (2 * n)), k, n) > mp.log(alpha), (k, n, alpha)
            continue
        assert log_tail(p, k, n) <= mp.log(alpha), (k, n, alpha)
        tighter = 1 - mp.mpf(q) * (1 - mp.mpf("5e-8"))
        if tighter < mp.mpf(k) / n:
            assert log_tail(tighter, k, n) > mp.log(alpha), (k, n, alpha)
    assert judged > 150


def test_radius_is_on_the_safe_side_of_exact_and_close() -> None:
    judged = 0
    for k, n, alpha in questions(2, 250):
        radius = radius_one_sided(k, n, alpha=alpha, sigma=1.0)
        if radius is None:
            continue
        judged += 1
        if mp.ncdf(radius) >= mp.mpf(k) / n:
            assert alpha > 0.4  # past the mean: the tail of the binomial is about a half
            continue
        assert log_tail(mp.ncdf(radius), k, n) <= mp.log(alpha), (k, n, alpha)
        above = mp.ncdf(radius + 2e-6)
        assert above >= mp.mpf(k) / n or log_tail(above, k, n) > mp.log(alpha), (k, n, alpha)
    assert judged > 60


@pytest.mark.parametrize(("n", "alpha"), [(1, 0.3), (7, 0.05), (20, 0.001), (60, 0.01), (60, 0.4), (120, 0.9)])
def test_coverage_by_enumeration(n: int, alpha: float) -> None:
    """Whatever the true p, the bound exceeds it with probability at most alpha: all n + 1 outcomes, exactly."""
    lower = [Fraction(probability_lower(k, n, alpha=alpha)) for k in range(n + 1)]
    assert lower == sorted(lower)
    # Worst just below a bound; the grid between them for good measure.
    grid = [Fraction(i, 16) for i in range(1, 16)] + [p - Fraction(1, 10**14) for p in lower if p > 0]
    worst = Fraction(0)
    for p in grid:
        wrong = [k for k in range(n + 1) if lower[k] > p]
        chance = sum((math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in wrong), start=Fraction(0))
        worst = max(worst, chance)
        assert chance <= Fraction(alpha)
    assert worst > Fraction(alpha) * Fraction(9999, 10000)  # and nothing is given away


@pytest.mark.parametrize("n", [1, 2, 10, 100_000, MAX_N])
@pytest.mark.parametrize("alpha", [1e-300, 1e-12, 0.001, 0.5, 1 - 1e-12])
def test_extremes_are_numbers_or_none(n: int, alpha: float) -> None:
    before = -1.0
    for k in sorted({0, 1, n // 2, n - 1, n}):
        radius = radius_one_sided(k, n, alpha=alpha, sigma=0.5)
        assert radius is None or 0 < radius < math.inf
        p = probability_lower(k, n, alpha=alpha)
        assert 0 <= p < 1 and (before <= p or alpha > 0.99)  # near alpha = 1 the slack may cost all
        before = p
        for other in (0, (n - k) // 2, n - k):
            radius = radius_two_sided(k, other, n, alpha=alpha, sigma=0.5)
            assert radius is None or 0 < radius < math.inf
    assert radius_one_sided(0, n, alpha=alpha, sigma=0.5) is None
    assert radius_two_sided(0, 0, n, alpha=alpha, sigma=0.5) is None


@pytest.mark.parametrize(
    ("misses", "n", "alpha"),
    [(3, 753_510_822, 0.007050035049611563), (3, 803_518_028, 0.007368631274808446)],
)
def test_an_inverse_too_low_is_noticed(misses: int, n: int, alpha: float) -> None:
    # SciPy 1.17's betainccinv is low by 5.3e-9 and 2.9e-9 here: the usual widening by 2e-9 would not be enough.
    q = mp.mpf(miss_upper(n - misses, n, alpha))
    assert log_tail(1 - q, n - misses, n) <= mp.log(alpha)
    assert log_tail(1 - q * (1 - mp.mpf("5e-8")), n - misses, n) > mp.log(alpha)


def test_a_failing_inverse_abstains() -> None:
    # SciPy 1.17 answers nan to betainccinv(3, 3, 3.6e-111).
    assert miss_upper(3, 5, 3.574576828639708e-111) == 1.0
    assert radius_one_sided(3, 5, alpha=3.574576828639708e-111, sigma=1.0) is None


def test_two_sided_needs_no_majority_and_tells_ties() -> None:
    assert radius_one_sided(45_000, 100_000, alpha=0.001, sigma=0.5) is None
    assert (radius_two_sided(45_000, 30_000, 100_000, alpha=0.001, sigma=0.5) or 0) > 0.09
    assert radius_two_sided(45_000, 45_000, 100_000, alpha=0.001, sigma=0.5) is None
    assert radius_two_sided(30_000, 45_000, 100_000, alpha=0.001, sigma=0.5) is None


def test_two_sided_against_its_definition() -> None:
    rng = random.Random(3)
    for _ in range(60):
        n = round(10 ** rng.uniform(2, 6))
        a = rng.randint(n // 3, n - 1)
        b = rng.randint(0, n - a)
        alpha = 10 ** rng.uniform(-9, -1)
        q_a, p_b = mp.mpf(miss_upper(a, n, alpha / 2)), mp.mpf(miss_upper(n - b, n, alpha / 2))
        exact = (mp.sqrt(2) * (mp.erfinv(1 - 2 * q_a) + mp.erfinv(1 - 2 * min(q_a, p_b)))) / 2
        radius = radius_two_sided(a, b, n, alpha=alpha, sigma=1.0)
        if radius is None:
            assert exact < 1e-6 + 1e-8
        else:
            assert exact - 2e-6 < radius <= exact


def test_tail_mass_comes_off() -> None:
    k, n = 99_990, 100_000
    lost = 1e-4
    plain = probability_lower(k, n, alpha=0.001)
    assert plain - lost - 1e-12 < probability_lower(k, n, alpha=0.001, tail_mass=lost) < plain - lost + 1e-12
    one = radius_one_sided(k, n, alpha=0.001, sigma=1.0, tail_mass=lost)
    assert one is not None and mp.ncdf(one) <= plain - lost <= mp.ncdf(one + 2e-6)
    two = radius_two_sided(50_000, 1_000, n, alpha=0.001, sigma=1.0, tail_mass=lost)
    q_a, p_b = miss_upper(50_000, n, 0.0005) + lost, miss_upper(n - 1_000, n, 0.0005) + lost
    assert two == pytest.approx((mp.erfinv(1 - 2 * q_a) + mp.erfinv(1 - 2 * p_b)) / mp.sqrt(2), abs=2e-6)
    assert radius_one_sided(n, n, alpha=0.001, sigma=1.0, tail_mass=0.5) is None
    assert probability_lower(n, n, alpha=0.001, tail_mass=1.0) == 0


def test_the_least_and_the_largest_sigma() -> None:
    assert radius_one_sided(1000, 1000, alpha=0.001, sigma=1e-7) is None  # 2.5e-7 rounds to nothing
    assert radius_one_sided(1000, 1000, alpha=0.001, sigma=1e-300) is None
    huge = radius_one_sided(1000, 1000, alpha=0.001, sigma=1e305)
    assert huge is not None and 0 < huge < math.inf


@pytest.mark.parametrize("alpha", [0.9, 0.5, 0.4, 0.05, 2**-10, 0.001, 1e-12, 1e-300])
def test_minimum_n_is_the_least_that_certifies(alpha: float) -> None:
    n = minimum_n(alpha)
    assert radius_one_sided(n, n, alpha=alpha, sigma=1.0) is not None
    assert n == 1 or radius_one_sided(n - 1, n - 1, alpha=alpha, sigma=1.0) is None


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("count", {"count": 11}),
        ("count", {"count": -1}),
        ("count", {"count": 3.0}),
        ("n", {"n": 0}),
        ("n", {"n": -5}),
        ("n", {"n": 10.0}),
        ("n", {"n": MAX_N + 1}),
        ("alpha", {"alpha": 0.0}),
        ("alpha", {"alpha": 1.0}),
        ("alpha", {"alpha": -0.1}),
        ("alpha", {"alpha": math.nan}),
        ("sigma", {"sigma": 0.0}),
        ("sigma", {"sigma": -1.0}),
        ("sigma", {"sigma": math.inf}),
        ("sigma", {"sigma": math.nan}),
        ("tail_mass", {"tail_mass": -1e-9}),
        ("tail_mass", {"tail_mass": math.nan}),
    ],
)
def test_refusals_name_the_argument(name: str, change: dict[str, Any]) -> None:
    good = {"count": 9, "n": 10, "alpha": 0.05, "sigma": 1.0, "tail_mass": 0.0}
    for function, more in ((radius_one_sided, {}), (radius_two_sided, {"runner_up": 0})):
        arguments = good | more | change
        with pytest.raises(ValueError, match=f"^{name}: "):
            function(arguments.pop("count"), n=arguments.pop("n"), **arguments)


@pytest.mark.parametrize("runner_up", [-1, 2, 1.0])
def test_refuses_a_runner_up_that_cannot_be(runner_up: Any) -> None:
    with pytest.raises(ValueError, match=r"^runner_up: "):
        radius_two_sided(9, runner_up, 10, alpha=0.05, sigma=1.0)


def test_checking_radii_needs_no_torch() -> None:
    code = "import sys, radii.smoothing.radius, radii.smoothing.prediction; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
