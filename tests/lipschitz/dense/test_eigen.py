"""The largest eigenvalue: what a Cholesky factorisation proves, against 64-bit mantissas, mpmath and LAPACK."""

from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import lapack

from radii.lipschitz import conv_norm
from radii.lipschitz.dense.eigen import LargestEigenvalue, cholesky_succeeds
from radii.lipschitz.dense.matrix import PANEL, gram_bound, gram_triangle
from radii.lipschitz.rounding import UNIT, gamma
from tests.lipschitz.convolution.layers import explicit_matrix


def symmetric(rng: np.random.Generator, order: int, values: np.ndarray) -> np.ndarray:
    """A matrix with about these eigenvalues, in Fortran order."""
    basis = np.linalg.qr(rng.standard_normal((order, order)))[0]
    matrix = basis * values @ basis.T
    return np.asfortranarray((matrix + matrix.T) / 2)


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="no wider type to check with here")
@pytest.mark.parametrize("order", [1, 5, 33, 64, 130, 300])
def test_a_factorisation_errs_by_no_more_than_its_bound(order: int) -> None:
    rng = np.random.default_rng(order)
    for values in (rng.uniform(0, 1, order), 1 - 1e-7 * np.arange(order), rng.uniform(0, 1, order) ** 30):
        block = symmetric(rng, order, values)
        shifted = np.linalg.eigvalsh(block)[-1] * (1 + 1e-11 * order) * np.eye(order) - block
        factor, info = lapack.dpotrf(shifted, lower=1, clean=1)
        assert info == 0
        wide = factor.astype(np.longdouble)
        residual = np.abs(np.tril(wide @ wide.T - shifted))
        bound = gamma(order + 2) * (np.abs(wide) @ np.abs(wide).T) + order * 2.0**-63
        assert (residual <= bound).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(-18, -8), st.booleans())
def test_a_level_below_the_eigenvalue_passes_only_within_rounding(
    seed: int, order: int, power: int, tied: bool
) -> None:
    rng = np.random.default_rng(seed)
    values = np.full(order, 1.0) if tied else np.append(rng.uniform(0, 1, order - 1), 1.0)
    block = symmetric(rng, order, values)
    with mpmath.workdps(50):
        true = max(mpmath.eigsy(mpmath.matrix(block.tolist()), eigvals_only=True))
    largest = LargestEigenvalue(order, rtol=1e-6, floor=float(true * (1 - mpmath.mpf(10) ** power)))
    work = np.empty_like(block, order="F")
    if cholesky_succeeds(largest.level, block, work):
        assert true <= largest.upper(0.0)
    if 10.0**power > 16 * order * (order + 8) * UNIT:
        assert not cholesky_succeeds(largest.level, block, work)
    assert cholesky_succeeds(float(true) * (1 + 16 * order * (order + 8) * UNIT), block, work)


@pytest.mark.parametrize("order", [3, 40, 140])
def test_the_upper_triangle_is_never_read(order: int) -> None:
    rng = np.random.default_rng(order)
    block = symmetric(rng, order, rng.uniform(0, 1, order))
    half = block.copy(order="F")
    half[np.triu_indices(order, 1)] = np.nan
    bounds = []
    for given_ in (block, half):
        largest = LargestEigenvalue(order, rtol=1e-6, floor=1e-3)
        largest.add(given_, order)
        bounds.append(largest.level)
    assert bounds[0] == bounds[1]


@pytest.mark.parametrize(("order", "count"), [(1, 5), (4, 300), (40, 20), (140, 4)])
def test_many_matrices(order: int, count: int) -> None:
    rng = np.random.default_rng(count)
    matrices = [symmetric(rng, order, rng.uniform(0, rng.uniform(0.5, 2), order)) for _ in range(count)]
    true = max(np.linalg.eigvalsh(matrix)[-1] for matrix in matrices)
    largest = LargestEigenvalue(order, rtol=1e-6, floor=1e-3)
    for matrix in matrices:
        largest.add(matrix, 2 * order)
    assert true * (1 - 1e-13) <= largest.upper(0.0) <= true * (1 + 2e-6)
    assert true * (1 - 2e-6) <= largest.lower(0.0) <= true * (1 + 1e-13)
    assert count <= largest.factorisations <= count + 20


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    matrices = np.ones((2, 3, 3))
    matrices[1, 1, 0] = value
    with pytest.raises(ArithmeticError, match="not finite"), np.errstate(invalid="ignore"):
        gram_bound(matrices, 1e-6)


@pytest.mark.parametrize("rows", [1, PANEL - 1, PANEL, 2 * PANEL + 3])
def test_the_gram_triangle(rows: int) -> None:
    matrix = np.random.default_rng(rows).standard_normal((rows, 7))
    triangle = gram_triangle(matrix)
    assert not np.triu(triangle, 1).any()
    np.testing.assert_allclose(triangle, np.tril(matrix.T @ matrix), rtol=0, atol=gamma(2 * rows) * rows * 10)


@pytest.mark.parametrize("seed", [295, 918, 1049, 1326])
def test_equal_eigenvalues_that_a_subset_of_lapack_misses(seed: int) -> None:
    """The layer's explicit matrix repeats a few blocks: of some, LAPACK's syevr finds no largest eigenvalue at all."""
    weight = np.random.default_rng(seed).standard_normal((2, 3, 2, 2))
    layer: dict[str, Any] = {"stride": (1, 3), "padding": ((1, 0), (1, 3)), "dilation": (3, 2), "groups": 2}
    layer |= {"transposed": True, "padding_mode": "zeros", "output_padding": (2, 1)}
    bound = conv_norm(weight, (5, 6), **layer)
    true = np.linalg.norm(explicit_matrix(weight, (5, 6), layer), 2)
    assert true * (1 - 1e-12) <= bound.upper <= true * (1 + 1e-6)
