"""Gram iteration: every step's bounds against mpmath, and the rounding error it allows against exact integers."""

from collections.abc import Callable
from fractions import Fraction
from itertools import islice

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radii.lipschitz.dense.iteration import gram_iteration
from radii.lipschitz.rounding import gamma

SPECTRA = {
    "random": [3.1, 1.7, 0.9, 0.2],
    "tied": [1, 1, 1, 1],
    "nearly tied": [1, 1 - 1e-6, 1 - 2e-6, 0.5],
    "rank one": [2, 0, 0, 0],
    "steep": [1, 1e-90, 1e-150, 1e-160],
}


def exact_norm(matrix: np.ndarray) -> mpmath.mpf:
    with mpmath.workdps(60):
        return mpmath.svd_r(mpmath.matrix(matrix.tolist()), compute_uv=False)[0]


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("scale", [1e-290, 1.0, 1e300])
def test_every_step_holds_and_halves_what_is_left(spectrum: str, scale: float) -> None:
    rng = np.random.default_rng(len(spectrum))
    left, right = np.linalg.qr(rng.standard_normal((6, 4)))[0], np.linalg.qr(rng.standard_normal((4, 4)))[0]
    matrix = left * SPECTRA[spectrum] @ right * scale
    true = exact_norm(matrix)
    excess = np.inf
    for step in islice(gram_iteration(matrix), 30):
        assert step.lower <= true <= step.upper
        assert 0 <= step.slack < 1e-13
        before, excess = excess, float(mpmath.log(step.upper / true))
        assert excess <= max(before / 2, 0) + 1e-13
    assert step.steps == 29
    assert step.upper <= true * (1 + 1e-8)
    assert step.lower >= true * (1 - 1e-8)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])  # a GPU's tensors take the second way
@pytest.mark.parametrize("exponent", [-290, 0, 290])
def test_bounds_of_a_long_wide_matrix(kind: Callable[[np.ndarray], np.ndarray | torch.Tensor], exponent: int) -> None:
    matrix = kind(np.random.default_rng(1).standard_t(1, (20, 700)) * 10.0**exponent)
    true = np.linalg.norm(np.asarray(matrix), 2)
    for step in islice(gram_iteration(matrix), 14):
        assert step.lower <= true * (1 + 1e-13)
        assert step.upper >= true * (1 - 1e-13)
    assert step.upper - step.lower <= 1e-11 * true


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 300), st.integers(1, 12), st.integers(0, 52))
def test_a_computed_gram_matrix_errs_by_no_more_than_gamma(seed: int, inner: int, order: int, spread: int) -> None:
    rng = np.random.default_rng(seed)
    whole = rng.integers(-(2**52), 2**52, (inner, order)) >> rng.integers(0, spread + 1, (inner, order))
    matrix = whole.astype(np.float64)
    computed = matrix.T @ matrix
    big = whole.astype(object)
    exact, magnitudes = big.T @ big, np.abs(big).T @ np.abs(big)
    for entry, true, magnitude in zip(computed.flat, exact.flat, magnitudes.flat, strict=True):
        assert abs(Fraction(float(entry)) - true) <= Fraction(gamma(inner)) * magnitude
