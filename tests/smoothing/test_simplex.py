from typing import Literal

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import softmax

from radii.smoothing.simplex import CHOICES, Scoring

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("factor", [0.25, 1.0, 8.0])
def test_scores_against_other_ways_to_them(factor: float) -> None:
    z = RNG.standard_normal((300, 7)) * 3
    soft = Scoring("softmax", factor).scores(z)
    assert np.abs(soft[:, :-1] - softmax(factor * z, axis=1)).max() < 1e-14
    for row, scores in zip(z, Scoring("sparsemax", factor).scores(z), strict=True):
        # the projection onto the simplex is a threshold whose sum is one; here by bisection
        tau = brentq(lambda t, row=row: np.clip(factor * row - t, 0, None).sum() - 1, *_ends(factor * row), xtol=1e-14)
        assert np.abs(scores[:-1] - np.clip(factor * row - tau, 0, None)).max() < 1e-12
    assert (Scoring("hardmax").scores(z)[:, :-1].argmax(1) == z.argmax(1)).all()


def _ends(z: np.ndarray) -> tuple[float, float]:
    return z.max() - 1.5, z.max()


@pytest.mark.parametrize("scoring", CHOICES)
def test_scores_lie_on_the_simplex_and_what_is_not_finite_is_a_class(scoring: Scoring) -> None:
    z = RNG.standard_normal((50, 4)).astype(np.float32) * 100
    z[3, 1], z[4, 0], z[5, 2] = np.nan, np.inf, -np.inf
    scores = scoring.scores(z)
    assert scores.shape == (50, 5) and scores.dtype == np.float64
    assert ((scores >= 0) & (scores <= 1)).all()
    assert np.abs(scores.sum(1) - 1).max() < 1e-15 * 8
    assert scores[:, -1].nonzero()[0].tolist() == [3, 4, 5]
    assert Scoring("hardmax").scores(np.zeros((1, 3))).tolist() == [[1, 0, 0, 0]]


@pytest.mark.parametrize("name", ["softmax", "sparsemax"])
def test_no_slope_exceeds_the_constant_and_some_reach_it(name: Literal["softmax", "sparsemax"]) -> None:
    """Two classes reach softmax's sqrt(2)/4; sparsemax comes near 1 as the other classes' support grows."""
    scoring, steepest = Scoring(name, 2.0), 0.0
    constant = scoring.lipschitz(1.0)
    assert constant is not None
    for classes in (2, 3, 40):
        z = RNG.standard_normal((2000, classes)) * 10.0 ** RNG.uniform(-3, 1, (2000, 1))
        step = RNG.standard_normal((2000, classes))
        step[:1000] = 0
        step[:1000, 0], step[:1000, 1:] = 1, -1 / (classes - 1)
        step *= 1e-4 / np.linalg.norm(step, axis=1, keepdims=True)
        slopes = np.abs(scoring.scores(z + step) - scoring.scores(z)).max(1) / 1e-4
        assert slopes.max() <= constant * (1 + 1e-9)
        steepest = max(steepest, slopes.max())
    assert steepest > 0.95 * constant
    assert Scoring("hardmax").lipschitz(1.0) is None
