import math
import random
from typing import Any

import mpmath as mp
import pytest

from radii.smoothing.lipschitz_aware import radius_lipschitz
from tests.acceptance import load

mp.mp.dps = 50


@pytest.mark.parametrize("case", load("smoothing_exact")["cases"]["lipschitz_aware"])
def test_matches_60_digit_arithmetic(case: dict[str, str]) -> None:
    radius = radius_lipschitz(
        float(case["pA"]), float(case["pB"]), sigma=float(case["sigma"]), lipschitz=float(case["L"])
    )
    assert mp.mpf(case["radius"]) - mp.mpf("2e-6") <= radius <= mp.mpf(case["radius"])


def ramp(s: mp.mpf, sigma: mp.mpf, lipschitz: mp.mpf) -> mp.mpf:
    """``G(s)``, the smoothed value of the steepest ramp from 1 to 0, in closed form."""

    def integral(t: mp.mpf) -> mp.mpf:
        return t * mp.ncdf(t) + mp.npdf(t)

    return 1 - lipschitz * sigma * (integral((s + 1 / lipschitz) / sigma) - integral(s / sigma))


def test_the_ramp_is_its_definition() -> None:
    s, sigma, lipschitz = mp.mpf("-0.7"), mp.mpf("0.5"), mp.mpf(3)
    integral = mp.quad(lambda u: mp.ncdf(u / sigma), [s, s + 1 / lipschitz])
    assert abs(ramp(s, sigma, lipschitz) - (1 - lipschitz * integral)) < mp.mpf(10) ** -30
    # and the smoothed value of a ramp that is 1 up to 0 and 0 from 1/L on, seen from s behind
    noisy = mp.quad(
        lambda u: mp.npdf(u, 0, sigma) * min(1, max(0, -lipschitz * (s + u))),
        [-12 * sigma, -s - 1 / lipschitz, -s, 12 * sigma],
    )
    assert abs(ramp(s, sigma, lipschitz) - noisy) < mp.mpf(10) ** -20


def test_never_beyond_the_ramp_and_close() -> None:
    rng, judged = random.Random(2), 0
    for _ in range(120):
        sigma, lipschitz = mp.mpf(10 ** rng.uniform(-1, 0.5)), mp.mpf(10 ** rng.uniform(-2, 2))
        p_a = rng.choice([rng.uniform(0.4, 0.999), 1 - 10 ** rng.uniform(-9, -2)])
        p_b = rng.uniform(1e-6, 1) * min(p_a, 1 - p_a)
        radius = radius_lipschitz(p_a, p_b, sigma=float(sigma), lipschitz=float(lipschitz))
        if radius is None:
            continue
        judged += 1

        def place(p: float, sigma: mp.mpf = sigma, lipschitz: mp.mpf = lipschitz) -> mp.mpf:
            low, high = -40 * sigma - 1 / lipschitz, 40 * sigma
            for _ in range(110):
                middle = (low + high) / 2
                low, high = (middle, high) if ramp(middle, sigma, lipschitz) > p else (low, middle)
            return (low + high) / 2

        exact = (place(p_b) - place(p_a)) / 2
        scale = float(max(sigma, 1 / lipschitz))
        assert radius <= exact * (1 + mp.mpf("1e-20"))
        assert radius >= exact - mp.mpf("1.1e-6") - mp.mpf("1e-7") * scale
    assert judged > 80


def test_without_a_useful_constant_it_is_cohens_radius() -> None:
    for k in (600, 900, 990, 1000):
        p = 1 - float(mp.mpf(1) - mp.mpf(k - 20) / 1000)
        exact = mp.mpf("0.5") * mp.sqrt(2) * mp.erfinv(2 * mp.mpf(p) - 1)
        radius = radius_lipschitz(p, 1 - p, sigma=0.5, lipschitz=1e8)
        assert radius == pytest.approx(float(exact), abs=3e-6)


def test_without_noise_it_is_the_margin_over_twice_the_constant() -> None:
    radius = radius_lipschitz(0.9, 0.1, sigma=1e-6, lipschitz=2.0)
    assert radius == pytest.approx(0.2, abs=3e-6)
    assert radius is not None and radius <= 0.2 + 1e-5


def test_gain_at_a_quarter() -> None:
    for p in (0.7, 0.9, 0.99, 0.999):
        cohen = mp.sqrt(2) * mp.erfinv(2 * mp.mpf(p) - 1)
        assert 1.3 < radius_lipschitz(p, 1 - p, sigma=1.0, lipschitz=0.25) / cohen < 1.8


def test_extremes_are_numbers_or_none() -> None:
    for p_a in (0.0, 1e-300, 0.5, 1 - 2**-53, 1.0):
        for p_b in (0.0, 1e-300, 0.5, 1.0):
            for sigma in (1e-9, 1.0, 1e9):
                for lipschitz in (1e-300, 1e-9, 1.0, 1e9, 1e300):
                    radius = radius_lipschitz(p_a, p_b, sigma=sigma, lipschitz=lipschitz)
                    assert radius is None or 0 < radius < math.inf
                    assert radius is None or p_a > p_b


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("p_lower", {"p_lower": 1.1}),
        ("p_upper", {"p_upper": math.nan}),
        ("sigma", {"sigma": 0.0}),
        ("lipschitz", {"lipschitz": math.inf}),
        ("lipschitz", {"lipschitz": 0.0}),
    ],
)
def test_refusals_name_the_argument(name: str, change: dict[str, Any]) -> None:
    arguments = {"p_lower": 0.9, "p_upper": 0.1, "sigma": 1.0, "lipschitz": 1.0} | change
    with pytest.raises(ValueError, match=f"^{name}: "):
        radius_lipschitz(arguments.pop("p_lower"), arguments.pop("p_upper"), **arguments)
