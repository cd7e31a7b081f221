"""The stored Lipschitz constants against 40-digit arithmetic, and the small bounds against exact matrices."""

from collections.abc import Callable

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mp, mpf
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from radii.graph.bounds import averaging_norm, diagonal, output_size, sqrt_up, up, window_taps
from radii.graph.ops import activation
from radii.graph.ops.groupnorm import LRN
from radii.graph.ops.normalization import LogSoftmax
from radii.graph.rules import Slope


def gelu_tanh(x: mpf) -> mpf:
    return x / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mp.pi) * (x + mpf("0.044715") * x**3)))


FUNCTIONS: dict[str, tuple[Callable[[mpf], mpf], Callable[[Tensor], Tensor], float, float]] = {
    "gelu": (lambda x: x / 2 * (1 + mpmath.erf(x / mpmath.sqrt(2))), F.gelu, activation.GELU_ERF, 1.4),
    "gelu_tanh": (gelu_tanh, lambda x: F.gelu(x, approximate="tanh"), activation.GELU_TANH, 1.4),
    "mish": (lambda x: x * mpmath.tanh(mpmath.log(1 + mpmath.exp(x))), F.mish, activation.MISH, 1.5),
    "erf": (mpmath.erf, torch.erf, activation.ERF, 0.0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_stored_constant_is_the_steepest_slope_rounded_up(name: str) -> None:
    function, run, stored, near = FUNCTIONS[name]
    with mp.workdps(40):
        steepest = mpmath.findroot(lambda x: mpmath.diff(function, x, 2), near)
        exact = mpmath.diff(function, steepest)
        assert exact <= mpf(stored) <= exact + mpf("2e-12")
        # Near it the slope is concave, so that is its only peak there ...
        assert all(mpmath.diff(function, steepest + mpf(k) / 80, 3) < 0 for k in range(-20, 21))
    # ... and elsewhere it is lower: |f''| < 2, so between points of a grid of step h, f' rises by less than h.
    step = 2.0**-12
    x = torch.arange(-20, 20, step, dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(run(x).sum(), x)
    far = (x.detach() - float(steepest)).abs() > 0.25
    assert float(slopes[far].abs().max()) + step < float(exact)


def test_up_and_sqrt_up_never_round_down() -> None:
    rng = np.random.default_rng(0)
    with mp.workdps(60):
        for value in [0, 1, 2, 3, 4, 9, 10, *rng.integers(0, 2**62, 200)]:
            root, natural = sqrt_up(int(value)), int(value)
            assert mpf(root) ** 2 >= natural
            assert mpf(root) ** 2 <= natural * (1 + mpf(2) ** -50)
    assert sqrt_up(49) == 7.0
    assert up(0.0) == 0.0
    assert 1.0 < up(1.0) < 1.0 + 1e-14


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "low", "high"),
    [(7, 3, 1, 1, 1), (8, 3, 2, 0, 1), (9, 4, 3, 2, 0), (5, 5, 1, 0, 0), (30, 7, 2, 3, 3)],
)
@pytest.mark.parametrize("ceil", [False, True])
def test_averaging_norm_is_the_norm_of_the_matrix(
    size: int, kernel: int, stride: int, low: int, high: int, ceil: bool
) -> None:
    taps = window_taps(output_size(size, kernel, stride, low, high, ceil), kernel, stride, 1, low)
    inside = (taps >= 0) & (taps < size)
    for divisors in (inside.sum(axis=1), np.full(len(taps), kernel)):
        matrix = np.zeros((len(taps), size))
        for i, j in zip(*np.nonzero(inside), strict=True):
            matrix[i, taps[i, j]] += 1 / divisors[i]
        exact = np.linalg.norm(matrix, 2)
        assert exact * (1 - 1e-14) <= averaging_norm(taps, divisors, size) <= exact * (1 + 1e-6)


def test_diagonal_counts_copies() -> None:
    rng = np.random.default_rng(3)
    for shape, made in (((1, 5), (4, 5)), ((3, 1), (3, 6)), ((2, 3), (3,)), ((1,), (7,))):
        factor = rng.normal(size=made)
        basis = np.eye(int(np.prod(shape))).reshape(-1, *shape)
        matrix = np.stack([(factor * entry).reshape(-1) for entry in basis], axis=1)
        exact = np.linalg.norm(matrix, 2)
        assert exact * (1 - 1e-15) <= diagonal(factor, shape) <= exact * (1 + 1e-12)


@pytest.mark.parametrize(
    ("size", "alpha", "beta", "bias"), [(5, 1e-4, 0.75, 1.0), (3, 2.0, 0.5, 0.3), (7, 5.0, 2.0, 2.0)]
)
def test_lrn_is_never_steeper_than_its_bound(size: int, alpha: float, beta: float, bias: float) -> None:
    """Its bound has no closed form that is exact: it holds from tiny to huge inputs, and is within a factor of 3."""
    operator = LRN(alpha, beta, bias, size)
    rule = operator.lipschitz((9, 1))
    assert isinstance(rule, Slope)
    generator, steepest = torch.Generator().manual_seed(1), 0.0
    for scale in np.geomspace(1e-3, 1e3, 61) / np.sqrt(alpha):
        for signs in (1, -1):
            x = scale * torch.randn(1, 9, 1, dtype=torch.float64, generator=generator).abs() ** 0.3
            x[:, ::2] *= signs
            jacobian = torch.func.jacrev(lambda x: operator.run([x], {}))(x).reshape(9, 9)
            steepest = max(steepest, float(torch.linalg.matrix_norm(jacobian, 2)))
    assert steepest <= rule.upper <= 3 * steepest


def test_log_softmax_reaches_its_constant() -> None:
    x = torch.zeros(1, 6, dtype=torch.float64)
    x[0, 2] = 60
    jacobian = torch.func.jacrev(lambda x: torch.log_softmax(x, 1))(x).reshape(6, 6)
    operator = LogSoftmax(0, trailing=False)
    assert operator.lipschitz((6,)) == Slope(sqrt_up(6))
    assert float(torch.linalg.matrix_norm(jacobian, 2)) == pytest.approx(6**0.5, rel=1e-12)
