"""Uniform and Laplace noise: values, radii in l1, decisions."""

import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy import stats

from radii.laws import LAWS
from radii.smoothing import SequentialTest, certify, chunk_seed, grid_of, noise_key, noise_of
from radii.smoothing.noise.base import sfc64
from radii.smoothing.noise.floating import Floating
from radii.smoothing.noise.grid import Grid
from radii.smoothing.radius import radius_under

SIGMA = 0.3
KEY = noise_key(bytes(32), model_digest="m", input_digest="x", noise="laws", sigma=SIGMA)
SCIPY = {
    "uniform": stats.uniform(-math.sqrt(3) * SIGMA, 2 * math.sqrt(3) * SIGMA),
    "laplace": stats.laplace(scale=SIGMA / math.sqrt(2)),
}


@pytest.mark.parametrize("source", [noise_of("uniform", SIGMA), noise_of("laplace", SIGMA)])
def test_values_follow_the_law(source: Floating) -> None:
    """Fixed seed; with another each check would fail a right source with chance 1e-6."""
    noisy = torch.empty(1000, 1000)
    source.stream(chunk_seed(KEY, "estimate", 0), torch.full((1000,), 2.0))(noisy)
    values = noisy.double().flatten().numpy() - 2
    law = SCIPY[source.law]
    assert stats.kstest(values, law.cdf).pvalue > 1e-6
    assert abs(values.var() / SIGMA**2 - 1) < 5 * math.sqrt((law.stats("k") + 2) / len(values))
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 5 / math.sqrt(len(values))


def test_values_of_the_raw_bits() -> None:
    """Against float64, value by value."""
    values = np.empty(2**14, np.float32)
    LAWS["uniform"].values(sfc64(bytes(range(32))), values)
    exact = sfc64(bytes(range(32))).random_raw(2**13).view(np.int32) * 2.0**-31
    assert np.abs(values - exact).max() < 1e-7
    LAWS["laplace"].values(sfc64(bytes(range(32))), values)
    raw = sfc64(bytes(range(32))).random_raw(2**14).view(np.int64).astype(np.float64)
    assert np.abs(values + np.sign(raw) * np.log(np.abs(raw) * 2.0**-63)).max() < 1e-5


def test_the_tail_of_laplace_is_full() -> None:
    """Fixed seed; a right source fails with chance 1e-6, and stays below 15 with chance 0.05."""
    total, beyond, part = 0, [], np.empty(2_000_000, np.float32)
    bits = sfc64(bytes(range(32)))
    for _ in range(5):
        LAWS["laplace"].values(bits, part)
        total += len(part)
        beyond.append(np.abs(part[np.abs(part) > 9]).astype(float) - 9)
    tail = np.concatenate(beyond)
    expected = total * math.exp(-9)
    assert abs(len(tail) - expected) < 5 * math.sqrt(expected)
    assert stats.kstest(tail, stats.expon.cdf).pvalue > 1e-6
    assert noise_of("laplace", 1.0).tail_mass(3) >= 3 * math.exp(-63 * math.log(2)) > 0


@pytest.mark.parametrize("law", ["uniform", "laplace"])
def test_a_radius_and_its_misses_are_inverse_from_the_safe_side(law: str) -> None:
    for r in (1e-6, 0.01, 0.2, 0.4, 0.51):
        with mp.workdps(40):
            if law == "uniform":
                exact = mp.mpf("0.5") - mp.mpf(r) / (2 * mp.sqrt(3) * mp.mpf(SIGMA))
            else:
                exact = mp.exp(-mp.mpf(r) * mp.sqrt(2) / mp.mpf(SIGMA)) / 2
            assert 0 <= exact - LAWS[law].most_misses(r, LAWS[law].stretch(SIGMA)) < 1e-11


@pytest.mark.parametrize(
    "source",
    [noise_of("uniform", SIGMA), noise_of("laplace", SIGMA), grid_of("uniform", SIGMA), grid_of("laplace", SIGMA)],
)
def test_certificates_of_a_half_line_are_true(source: Floating | Grid) -> None:
    """One axis decides: the smoothed classifier changes at distance 40/255, or half a step less on the grid, and both
    laws certify that much in the limit. 300 certificates at alpha = 0.05, fixed keys: more false ones than 29 would
    come of a right procedure with chance 1e-3; none is false by more than the noise of a vote."""
    x = torch.full((6,), 60 / 255)
    true = 39.5 / 255 if source.name.startswith("grid") else 40 / 255

    def classifier(batch: torch.Tensor) -> torch.Tensor:
        beyond = batch[:, 0] - (99.5 if source.name.startswith("grid") else 100) / 255
        return torch.stack([-beyond, beyond], 1)

    false, nearest = 0, 0.0
    for trial in range(300):
        key = noise_key(bytes(32), model_digest="m", input_digest=str(trial), noise=source.name, sigma=SIGMA)
        row = certify(classifier, x, num_classes=2, noise=source, alpha=0.05, n0=20, n=1000, key=key)
        assert row.sides == "one-sided"
        if row.radius is not None and row.prediction == 0:
            false += row.radius > true
            nearest = max(nearest, row.radius)
    assert stats.binom.sf(29, 300, 0.05) < 1e-3
    assert false <= 29
    assert 0.9 * true < nearest < 1.3 * true


@pytest.mark.parametrize("law", ["uniform", "laplace"])
def test_a_decision_agrees_with_the_radius(law: str) -> None:
    """By its last bound, when all samples are taken; sooner where it is clear."""
    settings: dict[str, Any] = {"sigma": SIGMA, "law": law}
    pilot, n = [9, 1, 0], 10_000
    for misses in range(0, n // 2, 25):
        bound = radius_under(LAWS[law], n - misses, n, alpha=0.0008, sigma=SIGMA)
        test = SequentialTest(0.2, pilot, alpha=0.001, beta=1e-300, n_max=n, **settings)
        decision = test.update([n - misses, misses // 2, misses - misses // 2])
        assert (decision == "certified") == (bound is not None and bound >= 0.2)
    test = SequentialTest(0.2, pilot, alpha=0.001, n_max=n, **settings)
    assert test.update([500, 0, 0]) == "certified"
    other = SequentialTest(0.2, pilot, alpha=0.001, n_max=n, **settings)
    assert other.update([250, 125, 125]) == "not certified"  # two sides would say nothing of that


@pytest.mark.parametrize("law", ["uniform", "laplace"])
@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
def test_a_deviation_must_be_positive(law: str, sigma: float) -> None:
    with pytest.raises(ValueError, match=r"^sigma: "):
        noise_of(law, sigma)
