"""Matrix norms against mpmath, closed forms and LAPACK."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from radii.lipschitz import EmulatedFloat64, NonFiniteWeights, matrix_norm
from radii.lipschitz.dense import eigen
from radii.lipschitz.dense.matrix import gram_bound

RTOL = 1e-6
METHODS = ["gram", "cholesky"]


def exact_norm(matrix: np.ndarray) -> mpmath.mpf:
    """To 50 digits, by mpmath."""
    with mpmath.workdps(50):
        return mpmath.svd_r(mpmath.matrix(matrix.tolist()), compute_uv=False)[0]


def check(matrix: np.ndarray, true: float, tightness: float = RTOL) -> None:
    for method in METHODS:
        bound = matrix_norm(matrix, method=method)
        assert bound.method == (method if true else "zero")
        assert bound.lower <= true <= bound.upper
        assert bound.upper <= true * (1 + tightness) + 5e-324


def check_with_svd(matrix: np.ndarray, rtol: float = RTOL) -> None:
    """Against LAPACK, which errs too, by less than 1e-13 of the norm."""
    true = np.linalg.norm(matrix, 2)
    for method in METHODS:
        bound = matrix_norm(matrix, method=method, rtol=rtol)
        assert true * (1 - 1e-13) <= bound.upper <= true * (1 + rtol + 1e-13)
        assert true * (1 - rtol) <= bound.lower <= true * (1 + 1e-13)
        assert 0 <= bound.slack < 1e-9


@settings(max_examples=80, deadline=None)
@given(arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=5), elements=st.floats(-1, 1)))
@example(np.array([[0, 5e-324], [5e-324, 5e-324]]))
def test_against_mpmath(matrix: np.ndarray) -> None:
    check(matrix, exact_norm(matrix))


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float64, (4, 3), elements=st.floats(-1, 1).filter(lambda v: v == 0 or abs(v) > 1e-3)),
    st.integers(-330, 306),
)
@example(np.ones((4, 3)), 154)  # squares that float64 holds, but not their sum
def test_scales_down_to_the_subnormal(matrix: np.ndarray, exponent: int) -> None:
    matrix = matrix * 10.0 ** max(exponent, -300) * 10.0 ** min(0, exponent + 300)
    true = exact_norm(matrix)
    # below 2^-1022 numbers have fewer digits, and a bound is rounded up to one of them
    check(matrix, true, tightness=RTOL if true > 1e-300 else 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 40), st.integers(-290, 290))
def test_rank_one(seed: int, rows: int, columns: int, exponent: int) -> None:
    # integers, so that every product is exact: the matrix has rank one to the last bit
    rng = np.random.default_rng(seed)
    u, v = rng.integers(-1000, 1001, rows), rng.integers(-1000, 1001, columns)
    matrix = np.outer(u, v).astype(np.float64) * 2.0**exponent
    with mpmath.workdps(50):
        true = mpmath.sqrt(int(u @ u) * int(v @ v)) * mpmath.mpf(2) ** exponent
    check(matrix, true)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 60), st.floats(0, 1))
def test_spectra_of_any_kind(seed: int, n: int, decay: float) -> None:
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(2))
    values = decay ** np.arange(n) if decay > 0 else np.eye(n)[0]  # all equal, slow, fast, one alone
    matrix = left * values @ right
    check_with_svd(matrix)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 90), st.integers(1, 90), st.sampled_from([1e-9, 1e-6, 1e-2, 0.9]))
def test_random_shapes(seed: int, rows: int, columns: int, rtol: float) -> None:
    check_with_svd(np.random.default_rng(seed).standard_t(2, (rows, columns)), rtol)


@pytest.mark.parametrize("n", [1, 7, 64, 128, 256])
def test_all_singular_values_tied(n: int) -> None:
    check(np.eye(n), 1)
    check(3 * np.eye(n)[::-1], 3)


@pytest.mark.parametrize("n", [3, 6, 10])
def test_hilbert(n: int) -> None:
    hilbert = 1 / (np.arange(n)[:, None] + np.arange(n) + 1)
    check(hilbert, exact_norm(hilbert))


@pytest.mark.parametrize("shape", [(300, 300), (500, 140), (130, 700), (1100, 129)])
def test_orders_that_lanczos_proposes_for(shape: tuple[int, int]) -> None:
    check_with_svd(np.random.default_rng(shape[0]).standard_normal(shape))


@pytest.mark.parametrize("exponent", [-1000, -160, -70, -29, 29, 70, 160, 1000])
@pytest.mark.parametrize("order", [20, 140])
def test_a_power_of_two_scales_the_bounds(order: int, exponent: int) -> None:
    matrix = np.random.default_rng(order).standard_normal((order, order))
    true = np.linalg.norm(matrix, 2)
    rank_one = np.full_like(matrix, 1.2 * true / order)  # the sum of its squares is no more than its norm squared
    batch = np.stack([np.zeros_like(matrix), 2.0**-40 * matrix, matrix, rank_one, 0.9 * matrix])
    for given_, norm in ((matrix[None], true), (batch, 1.2 * true)):
        bound = gram_bound(np.ldexp(given_, exponent), RTOL)
        assert norm * (1 - 1e-13) <= math.ldexp(bound.upper, -exponent) <= norm * (1 + RTOL)
        assert norm * (1 - RTOL) <= math.ldexp(bound.lower, -exponent) <= norm * (1 + 1e-13)
        assert bound.iterations <= 6


@pytest.mark.parametrize("closeness", [1e-4, 1e-6, 1e-9, 1e-12, 1e-15])
def test_nearly_tied_singular_values(closeness: float) -> None:
    rng = np.random.default_rng(3)
    left, right = (np.linalg.qr(rng.standard_normal((200, 200)))[0] for _ in range(2))
    check_with_svd(left * (1 - closeness * np.arange(200)) @ right)
    check_with_svd(left * np.append(1 - closeness * np.arange(100), rng.uniform(0, 1 - 100 * closeness, 100)) @ right)


def test_a_proposal_that_misses_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = eigen.top_eigenvector

    def misses(block: np.ndarray, work: np.ndarray, *, tolerance: float, careful: bool) -> tuple[np.ndarray, float]:
        if careful:
            return honest(block, work, tolerance=tolerance, careful=True)
        return np.linalg.eigh(block)[1][:, 0], 0.0  # of the smallest eigenvalue

    monkeypatch.setattr(eigen, "top_eigenvector", misses)
    check_with_svd(np.random.default_rng(1).standard_normal((20, 12)))


def test_auto_takes_what_costs_less() -> None:
    matrix = np.random.default_rng(2).standard_normal((30, 40))
    assert matrix_norm(matrix).method == "cholesky"
    assert matrix_norm(matrix, rtol=0.9).iterations <= 2
    assert matrix_norm(matrix[:1]).method == "gram"  # a vector: its Frobenius norm is its norm
    assert matrix_norm(matrix[:1]).iterations == 0


def test_global_settings_do_not_change_a_bit() -> None:
    matrix = np.random.default_rng(6).standard_normal((150, 140)).astype(np.float32)
    plain = [matrix_norm(matrix, method=method) for method in METHODS]
    precision, dtype = torch.get_float32_matmul_precision(), torch.get_default_dtype()
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("medium")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.set_default_dtype(torch.float16)
        torch.set_flush_denormal(True)
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.device("meta"):
            changed = [matrix_norm(torch.from_numpy(matrix), method=method) for method in METHODS]
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32
        torch.set_default_dtype(dtype)
        torch.set_flush_denormal(False)
    assert changed == plain


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_weights_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(150, 140, device="cuda")
    true = float(torch.linalg.matrix_norm(weight.cpu().double(), 2))
    bound = matrix_norm(weight)
    assert bound.method == "gram"
    assert true * (1 - 1e-13) <= bound.upper <= true * (1 + RTOL)
    assert matrix_norm(weight, method="cholesky") == matrix_norm(weight.cpu(), method="cholesky")
    with pytest.raises(NonFiniteWeights):
        matrix_norm(weight / 0)
    monkeypatch.setenv("CUBLAS_EMULATE_DOUBLE_PRECISION", "1")
    with pytest.raises(EmulatedFloat64):
        matrix_norm(weight)


@pytest.mark.parametrize("shape", [(20, 30), (1, 1), (0, 3), (3, 0)])
def test_zero_is_exactly_zero(shape: tuple[int, int]) -> None:
    bound = matrix_norm(np.zeros(shape))
    assert (bound.upper, bound.lower, bound.method) == (0.0, 0.0, "zero")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_weights_are_refused(value: float) -> None:
    matrix = np.ones((3, 4))
    matrix[2, 1] = value
    with pytest.raises(NonFiniteWeights, match="1 of 12 weights are NaN or infinite"):
        matrix_norm(matrix)


def test_a_norm_beyond_float64_is_infinite_not_wrong() -> None:
    assert matrix_norm(np.full((64, 64), 1.7e308)).upper == np.inf


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int8])
def test_every_dtype_is_read_exactly(dtype: torch.dtype) -> None:
    matrix = (torch.arange(12).reshape(3, 4) - 5).to(dtype).requires_grad_(dtype.is_floating_point)
    assert matrix_norm(matrix) == matrix_norm(np.arange(12.0).reshape(3, 4) - 5)


def test_what_float64_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="float64 exactly"):
        matrix_norm(np.array([[2**62 + 1]]))
    with pytest.raises(ValueError, match="real numbers"):
        matrix_norm(np.array([[1j]]))


@pytest.mark.parametrize(("shape", "rtol"), [((3,), 1e-6), ((2, 2, 2), 1e-6), ((2, 2), 0.0), ((2, 2), 1.0)])
def test_nonsense_is_refused(shape: tuple[int, ...], rtol: float) -> None:
    with pytest.raises(ValueError, match=r"2 axes|rtol"):
        matrix_norm(np.ones(shape), rtol=rtol)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="auto, gram, cholesky"):
        matrix_norm(np.ones((2, 2)), method="power")
