"""A new law of noise is one class and its entry in radii.laws: shown by entering one. What else names laws says why."""

import ast
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import mpmath as mp
import numpy as np
import pytest
import torch

from radii.laws import LAWS, Law, LawName
from radii.laws.base import SLACK
from radii.methods import Smoothing
from radii.smoothing import Noise, certify, grid_of, noise_key, noise_of
from radii.smoothing.noise.selftest import check_noise
from radii.smoothing.radius import radius_under

ROOT = Path(__file__).parents[2]
SIGMA, DISTANCE = 0.3, 0.25
X = torch.full((3, 4), 128 / 255)


class Logistic(Law):
    """Density ``1/(4 s cosh^2(v/(2 s)))``. It is log-concave, so no set gains mass faster than a half-space does when
    it is moved along an axis, and none faster in another direction of the l1 ball (Yang et al. 2020): the l1 radius is
    the law's quantile of pA."""

    name = "logistic"
    norm = "l1"
    reach = 21.0
    missing = 2.0**-27  # u has 53 bits; of float32's 24 it has all where it is more than 2^-28 from an end
    generator = "sfc64-logit-f32"

    def stretch(self, sigma: float) -> float:
        return sigma * math.sqrt(3) / math.pi

    def ideal(self, miss: float, stretch: float) -> float:
        return stretch * math.log((1 - miss) / miss)

    def most_misses(self, radius: float, stretch: float) -> float:
        return (1 - SLACK) / (1 + math.exp(radius / stretch * (1 + SLACK)))

    def cdf(self, z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-np.asarray(z) * math.pi / math.sqrt(3)))

    def values(self, bits: np.random.SFC64, out: np.ndarray) -> None:
        u = ((bits.random_raw(len(out)) >> np.uint64(11)) + 0.5) * 2.0**-53
        out[:] = np.log(u) - np.log1p(-u)


class Asked(Smoothing):
    noise: Literal["logistic"] = "logistic"  # type: ignore[assignment]  # Smoothing names those of radii


@pytest.fixture(autouse=True)
def entered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LAWS, "logistic", Logistic())


def classify(points: torch.Tensor) -> torch.Tensor:
    """Class 0 on one side of a plane across the first axis, ``DISTANCE`` from X."""
    margin = points.flatten(1)[:, 0] - (float(X[0, 0]) - DISTANCE)
    return torch.stack([margin, -margin], dim=1)


@pytest.mark.parametrize("source", [noise_of, grid_of])
def test_it_is_drawn_and_certifies(source: Callable[[str, float], Noise]) -> None:
    """Under a symmetric law g is f for this f, so its exact l1 radius is the distance; on the grid, to half a step."""
    noise = source("logistic", SIGMA)
    check_noise(noise)
    key = noise_key(bytes(32), model_digest="m", input_digest="x", noise=noise.name, sigma=SIGMA)
    ask: dict[str, Any] = {"num_classes": 2, "noise": noise, "n0": 50, "n": 20_000, "alpha": 0.001, "key": key}
    found = certify(classify, X, **ask)
    assert found.prediction == 0 and found.sides == "one-sided"
    assert found.radius is not None and 0.93 * DISTANCE < found.radius < DISTANCE + 0.5 / 255
    assert certify(classify, X, target_radius=0.8 * DISTANCE, **ask).decision == "certified"
    assert certify(classify, X, target_radius=1.2 * DISTANCE, **ask).decision == "not certified"


def test_its_radius_is_its_own() -> None:
    law, s = LAWS["logistic"], SIGMA * math.sqrt(3) / math.pi
    radius = radius_under(law, 990, 1000, alpha=0.001, sigma=SIGMA)
    with mp.workdps(40):
        p = mp.findroot(
            lambda p: mp.betainc(990, 11, 0, p, regularized=True) - mp.mpf("0.001"), (0.95, 0.99), solver="illinois"
        )
        exact = s * mp.log(p / (1 - p))
        assert exact - 3e-6 < radius <= exact
        for r in (0.01, 0.2, 1.0):
            assert 0 <= 1 / (1 + mp.exp(mp.mpf(r) / s)) - law.most_misses(r, s) < 1e-11


def test_its_parameters_are_checked() -> None:
    assert Asked(noise="logistic", sigma=SIGMA).norm == "l1"
    with pytest.raises(ValueError, match="logistic noise certifies l1 radii"):
        Asked(noise="logistic", sigma=SIGMA, norm="l2")
    most = Asked(noise="logistic", sigma=SIGMA)._most(0.0008)
    assert Asked(noise="logistic", sigma=SIGMA, mode="decide", target_radius=0.99 * most).out_of_reach(12) is None
    with pytest.raises(ValueError, match="not even 100000 samples"):
        Asked(noise="logistic", sigma=SIGMA, mode="decide", target_radius=1.01 * most)


def test_what_the_api_takes_is_what_is_entered() -> None:
    assert get_args(LawName) == tuple(name for name in LAWS if name != "logistic")


NAMERS = {  # outside of radii/laws
    "radii/cli/report.py": "leaves the usual law out of a line",
    "radii/methods/median/method.py": "medians have their theorem for Gaussian noise alone",
    "radii/methods/smoothed.py": "the default",
    "radii/methods/smoothing/method.py": "mean scores have their theorem for Gaussian noise alone",
    "radii/smoothing/__init__.py": "exports a function of one law",
    "radii/smoothing/l1.py": "functions of one law each",
    "radii/smoothing/noise/__init__.py": "a function of one law",
    "radii/smoothing/noise/kernels.py": "what Triton compiles stands in one file, of laws that say so (`Law.fused`)",
    "radii/smoothing/prediction.py": "the default",
    "radii/smoothing/procedure.py": "the default",
    "radii/smoothing/radius.py": "a function of one law",
    "radii/smoothing/sampling.py": "medians have their theorem for Gaussian noise alone",
    "radii/smoothing/sequential.py": "the default",
    "radii/smoothing/splitting.py": "what it splits by is uniform",
    "workers/runner/smoothed_shard.py": "mean scores have their theorem for Gaussian noise alone",
}


def test_nobody_else_tells_laws_apart() -> None:
    found = set()
    for folder in ("app", "models", "radii", "workers"):
        for path in (ROOT / folder).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            tree = ast.parse(path.read_text())
            words = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
            if words & LAWS.keys() and not name.startswith("radii/laws/"):
                found.add(name)
    assert found == set(NAMERS)
