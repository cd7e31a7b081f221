"""Median smoothing against binomials in exact arithmetic, and regressors whose smoothed medians are known."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy import stats

from radii.methods import Median
from radii.smoothing import certify_median, gaussian, median_bounds, median_statistics, noise_key, noise_of

WHOLE = [
    (40, 0.0, 0.1, 0.0),
    (200, 0.5, 0.05, 0.0),
    (500, 1.2, 0.001, 0.0),
    (200, 0.5, 0.05, 1e-9),
    (300, 1.0, 0.01, 0.02),
]


@pytest.mark.parametrize(("n", "radius", "alpha", "mass"), WHOLE)
def test_the_order_statistics_by_exact_binomials(n: int, radius: float, alpha: float, mass: float) -> None:
    """With the mass that the noise source may misplace taken off the law's probability; and no further out."""
    lower, upper = median_statistics(n, radius=radius, sigma=1.0, alpha=alpha, tail_mass=mass)
    assert upper == n + 1 - lower
    p = Fraction(float(mp.ncdf(-radius))) - Fraction(mass)

    def fewer(k: int) -> Fraction:
        return sum((math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k)), start=Fraction(0))

    assert fewer(lower) <= Fraction(alpha) / 2
    assert fewer(lower + 1) > Fraction(alpha) / 2


def test_too_few_samples_or_too_much_mass_bound_nothing() -> None:
    assert median_statistics(5, radius=2.0, sigma=1.0, alpha=0.001) == (0, 6)
    assert median_statistics(10**6, radius=0.0, sigma=1.0, alpha=0.001, tail_mass=0.5) == (0, 10**6 + 1)
    found = median_bounds(np.zeros((5, 2), np.float32), radius=2.0, sigma=1.0, alpha=0.001)
    assert (found.median, found.lower, found.upper) == ((0.0, 0.0), (-math.inf, -math.inf), (math.inf, math.inf))


@pytest.mark.parametrize("bad", [0, 1, 6, 49, 50, 51, 99])
@pytest.mark.parametrize("n", [99, 100])
def test_what_is_not_finite_lies_outside_on_both_sides(n: int, bad: int) -> None:
    """Against a sort of all values, for each thing that may stand for NaN or infinity: the widest of the intervals."""
    rng = np.random.default_rng(bad)
    values = rng.normal(size=n).astype(np.float32)
    values[rng.permutation(n)[:bad]] = rng.choice(np.array([np.nan, np.inf, -np.inf], np.float32), bad)
    lower, upper = median_statistics(n, radius=0.5, sigma=1.0, alpha=0.01)
    ends = []
    for stands in (-np.inf, np.inf):
        whole = sorted(np.where(np.isfinite(values), values, np.float32(stands)).tolist())
        ends.append((whole[lower - 1], np.median(whole), whole[upper - 1]))
    found = median_bounds(values[:, None], radius=0.5, sigma=1.0, alpha=0.01)
    assert (found.lower, found.upper) == ((ends[0][0],), (ends[1][2],))
    assert found.lower[0] <= found.upper[0]
    if all(math.isfinite(median) for _, median, _ in ends):
        assert ends[0][1] <= found.median[0] <= ends[1][1]
        assert bad or found.median == (float(np.median(values.astype(np.float64))),)
    else:
        assert math.isnan(found.median[0])


@pytest.mark.parametrize("alpha", [0.3, 0.02])
def test_bounds_of_monotone_functions_of_projections_hold_as_often_as_promised(alpha: float) -> None:
    """The median of h(w.x + noise) at x + d is h(w.(x + d)), whatever increasing h: at the worst d, h(w.x -+ |w| r).

    Three outputs along three axes, so that their misses are independent. Seeded; with another seed a right
    implementation fails with probability 1e-9 a side.
    """
    x, sigma, radius, trials, n = torch.tensor([0.5, -1.0, 2.0]), 0.5, 0.4, 600, 500
    scale = torch.tensor([1.0, -2.0, 0.5])
    noise = gaussian(sigma)

    def regressor(batch: torch.Tensor) -> torch.Tensor:
        a, b, c = (batch * scale).unbind(1)
        return torch.stack([3 * a + 1, b.exp(), torch.where(c < 1, c, c**3)], 1)

    centre, reach = (x * scale).double().numpy(), radius * scale.abs().double().numpy()

    def h(z: np.ndarray) -> np.ndarray:
        return np.array([3 * z[0] + 1, math.exp(z[1]), z[2] if z[2] < 1 else z[2] ** 3])

    worst = h(centre - reach), h(centre + reach)
    missed = 0
    for trial in range(trials):
        key = noise_key(bytes(32), model_digest="m", input_digest=f"{alpha} {trial}", noise=noise.name, sigma=sigma)
        found = certify_median(regressor, x, outputs=3, noise=noise, radius=radius, alpha=alpha, n=n, key=key)
        missed += bool((np.array(found.lower) > worst[0]).any() or (np.array(found.upper) < worst[1]).any())
        assert all(a <= b <= c for a, b, c in zip(found.lower, found.median, found.upper, strict=True))
    lower, _ = median_statistics(n, radius=radius, sigma=sigma, alpha=alpha / 3)
    p = stats.norm.cdf(-radius / sigma)
    exact = 1 - (1 - stats.binom.cdf(lower - 1, n, p)) ** 6  # both sides of three outputs, to a few percent
    assert exact <= alpha
    assert stats.binom.ppf(1e-9, trials, 0.9 * exact) <= missed <= stats.binom.ppf(1 - 1e-9, trials, alpha)


def test_samples_are_those_of_the_stream_whatever_the_batch() -> None:
    x, noise, key = torch.zeros(2), gaussian(1.0), bytes(range(32))
    ask: dict[str, Any] = {"outputs": 1, "noise": noise, "radius": 0.5, "alpha": 0.01, "key": key}

    def regressor(batch: torch.Tensor) -> torch.Tensor:
        return batch[:, :1]

    one, other = (certify_median(regressor, x, n=2500, batch_size=size, **ask) for size in (70, 1000))
    assert one == other
    more = certify_median(regressor, x, n=5000, **ask)
    assert more.upper[0] - more.lower[0] < one.upper[0] - one.lower[0]
    with pytest.raises(ValueError, match=r"^noise: "):
        certify_median(regressor, x, n=2500, **ask | {"noise": noise_of("uniform", 1.0)})
    with pytest.raises(ValueError, match="gave shape"):
        certify_median(regressor, x, n=2500, **ask | {"outputs": 2})


@pytest.mark.parametrize(("radius", "alpha"), [(0.0, 0.5), (0.25, 0.001), (0.5, 1e-9), (1.0, 1e-300), (0.75, 2.0**-10)])
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_least_n_of_the_method_is_that_of_the_order_statistics(radius: float, alpha: float, outputs: int) -> None:
    def bounded(n: int) -> bool:
        return median_statistics(n, radius=radius, sigma=0.25, alpha=alpha / outputs).lower > 0

    low, high = 0, 2**25  # bounded(high), not bounded(low)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if bounded(middle) else (middle, high)
    method = Median(sigma=0.25, radius=radius, alpha=alpha, n=1_000_000) if high <= 1_000_000 else None
    if method is None:
        with pytest.raises(ValueError, match="Use a smaller radius"):
            Median(sigma=0.25, radius=radius, alpha=alpha, n=1_000_000)
        return
    assert method.model_copy(update={"n": high}).hopeless(1, outputs) is None
    assert f"Use n >= {high}," in str(method.model_copy(update={"n": high - 1}).hopeless(1, outputs))


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("radius", lambda: median_statistics(5, radius=-1.0, sigma=1.0, alpha=0.1)),
        ("n", lambda: median_statistics(0, radius=1.0, sigma=1.0, alpha=0.1)),
        ("tail_mass", lambda: median_statistics(5, radius=1.0, sigma=1.0, alpha=0.1, tail_mass=-0.1)),
        ("outputs", lambda: median_bounds(np.zeros(5), radius=1.0, sigma=1.0, alpha=0.1)),
        ("outputs", lambda: median_bounds(np.zeros((5, 0)), radius=1.0, sigma=1.0, alpha=0.1)),
    ],
)
def test_refusals_name_the_argument(name: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        call()
