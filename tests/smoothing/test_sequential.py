import math
import random

import mpmath as mp
import numpy as np
import pytest

from radii.smoothing.radius import radius_one_sided
from radii.smoothing.sequential import EARLY, SequentialTest
from tests.acceptance import load
from tests.smoothing.binomial import log_tail


def exact_log_evidence(k: int, n: int, q0: float) -> mp.mpf:
    """By the binomial tail: ``int_p0^1 p^k (1-p)^(n-k) dp = B(k+1, n-k+1) P(Bin(n+1, q0) >= n-k+1)``."""
    log_beta = mp.loggamma(k + 1) + mp.loggamma(n - k + 1) - mp.loggamma(n + 2)
    q = mp.mpf(q0)
    return log_beta + log_tail(q, n - k + 1, n + 1) - mp.log(q) - k * mp.log1p(-q) - (n - k) * mp.log(q)


def test_evidence_is_below_40_digit_arithmetic_and_close():
    rng, judged = random.Random(0), 0
    for _ in range(150):
        n, z = round(10 ** rng.uniform(1, 9)), rng.uniform(0.01, 5)
        test = SequentialTest(z, sigma=1.0, alpha=0.001, n_max=10**9)
        q0 = test._q0
        misses = round(n * q0 - rng.uniform(0, 5) * math.sqrt(n * q0))
        if misses < 0:
            misses = 0
        if (misses + 1) / (n + 1) <= q0:
            continue  # the truth's continued fraction is for tails
        judged += 1
        test.successes, test.n = n - misses, n
        exact = exact_log_evidence(n - misses, n, q0)
        assert exact - 1e-8 - 6.1e-14 * n <= test.log_evidence() <= exact
    assert judged > 20


def test_null_lies_above_the_real_one():
    for z in (0.01, 0.5, 1.0, 3.0, 8.0):
        null = 1 - mp.mpf(SequentialTest(z * 0.25, sigma=0.25, alpha=0.001)._q0)
        assert 0 <= null - mp.ncdf(mp.mpf(z)) <= mp.mpf("1e-6")
    tail = 1 - mp.mpf(SequentialTest(1.0, sigma=0.5, alpha=0.001, tail_mass=1e-3)._q0)
    assert 0 <= tail - mp.ncdf(2) - mp.mpf("1e-3") <= mp.mpf("1e-8")


def chances(p: float, step: int, **settings) -> dict[str, float]:
    """The exact law of the decision, looked at every ``step`` samples: all paths of the misses, summed."""
    law, verdicts = {0: 1.0}, {"certified": 0.0, "not certified": 0.0, "undecided": 0.0}
    n, n_max = 0, settings["n_max"]
    kernel = [math.comb(step, m) * (1 - p) ** m * p ** (step - m) for m in range(step + 1)]
    while law:
        n, after = n + step, {}
        for misses, mass in law.items():
            for more, weight in enumerate(kernel):
                after[misses + more] = after.get(misses + more, 0.0) + mass * weight
        law = {}
        for misses, mass in after.items():
            test = SequentialTest(**settings)
            test.successes, test.n = n - step - max(0, misses - step), n - step  # what came before matters in sum only
            test.update(step - (misses - (test.n - test.successes)), step)
            assert test.n - test.successes == misses
            if test.over:
                verdicts[test.decision] += mass
            else:
                law[misses] = mass
        assert n <= n_max
    return verdicts


@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.001])
@pytest.mark.parametrize("z", [0.25, 1.0])
def test_false_certificates_by_enumeration(alpha, z):
    """At the worst p, just outside, all paths of 120 samples certify with probability alpha at most."""
    p0 = float(mp.ncdf(z))
    settings = {"target_radius": z, "sigma": 1.0, "alpha": alpha, "beta": 0.01, "n_max": 120}
    at_null = chances(p0, 10, **settings)
    assert at_null["certified"] <= alpha
    assert at_null["not certified"] <= 0.01
    assert sum(at_null.values()) == pytest.approx(1, abs=1e-9)
    assert chances(p0 - 0.05, 10, **settings)["certified"] < at_null["certified"]
    if z < 1:  # and it has power
        assert chances(0.95, 10, **settings)["certified"] > 0.9


def test_few_samples_on_the_published_probabilities():
    """Of 4,500 inputs at most 4 lost: true losses of 0.02 % exceed that with probability 2e-3; the seed is fixed."""
    rows, rng, n_max = load("cohen_radii")["rows"], np.random.default_rng(7), 100_000
    for target in (0.25, 0.5, 1.0):
        used = lost = inputs = 0
        for row in rows:
            p, sigma = row["implied_count"] / row["n"], row["sigma"]
            for _ in range(10):
                test = SequentialTest(target, sigma=sigma, alpha=0.001, n_max=n_max)
                while not test.over:
                    size = min(max(100, test.n // 10), n_max - test.n)
                    test.update(int(rng.binomial(size, p)), size)
                used, inputs = used + test.n, inputs + 1
                all_of_them = test.successes + int(rng.binomial(n_max - test.n, p))  # the same stream, to its end
                fixed = radius_one_sided(all_of_them, n_max, alpha=0.001, sigma=sigma)
                lost += fixed is not None and fixed >= target and test.decision != "certified"
        assert n_max * inputs / used >= 24
        assert lost <= inputs // 1000


def test_what_cannot_be_certified_costs_nothing():
    test = SequentialTest(1.0, sigma=0.12, alpha=0.001)
    assert (test.most_misses, test.over, test.decision) == (-1, True, "undecided")
    with pytest.raises(ValueError, match="over"):
        test.update(1, 1)


def test_the_last_bound_is_clopper_pearson():
    settings = {"sigma": 1.0, "alpha": 0.001, "n_max": 1000, "beta": 1e-12}
    test = SequentialTest(1.0, **settings)
    most = test.most_misses
    alpha = (1 - EARLY) * 0.001
    assert radius_one_sided(1000 - most, 1000, alpha=alpha, sigma=1.0) >= 1.0
    below = radius_one_sided(1000 - most - 1, 1000, alpha=alpha, sigma=1.0)
    assert below is None or below < 1.0
    test.update(1000 - most, 1000)
    assert (test.decision, test.over) == ("certified", True)
    other = SequentialTest(1.0, **settings)
    other.update(1000 - most - 1, 1000)
    assert (other.decision, other.over) == ("undecided", True)


def test_a_decision_stays_and_the_hopeless_ends():
    test = SequentialTest(0.5, sigma=0.5, alpha=0.001)
    assert test.update(200, 400) == "not certified"
    assert test.over
    sure = SequentialTest(0.5, sigma=0.5, alpha=0.001)
    assert sure.update(100, 100) == "certified"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("target_radius", {"target_radius": 0.0}),
        ("target_radius", {"target_radius": math.nan}),
        ("sigma", {"sigma": 0.0}),
        ("alpha", {"alpha": 1.0}),
        ("beta", {"beta": 0.0}),
        ("n", {"n_max": 0}),
        ("tail_mass", {"tail_mass": -1.0}),
    ],
)
def test_refusals_name_the_argument(name, change):
    with pytest.raises(ValueError, match=f"^{name}: "):
        SequentialTest(**{"target_radius": 0.5, "sigma": 0.5, "alpha": 0.001} | change)


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (1.0, 5), (5, 100_001)])
def test_refuses_samples_that_cannot_be(successes, n):
    with pytest.raises(ValueError, match=r"^(successes|n): "):
        SequentialTest(0.5, sigma=0.5, alpha=0.001).update(successes, n)
