"""Eigenvalues, traces and their errors, against eigendecompositions of explicit matrices."""

import math

import pytest
import torch
from scipy.stats import binom
from torch import Tensor

from radii.diagnostics.lanczos import Deflated, lanczos

BLOCKS = [slice(0, 30), slice(30, 47), slice(47, 120)]
SIZE = 120


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def symmetric(seed: int, size: int = SIZE, outliers: int = 3) -> Tensor:
    """A bulk and some large eigenvalues, as Hessians of losses have them."""
    basis = torch.linalg.qr(torch.randn(size, size, generator=generator(seed), dtype=torch.float64))[0]
    values = torch.randn(size, generator=generator(seed + 1), dtype=torch.float64) * 0.1
    values[:outliers] += 5.0 + torch.arange(outliers)
    return basis @ torch.diag(values) @ basis.T


def test_ends_of_the_spectrum() -> None:
    matrix = symmetric(0)
    values = torch.linalg.eigvalsh(matrix)
    low, high = lanczos(matrix.mv, SIZE, 60, generator(1)).extremes()
    assert abs(high.value - float(values[-1])) < 1e-12
    assert float(values[0]) <= low.value + 1e-12 and high.value <= float(values[-1]) + 1e-12
    assert low.beyond is not None and low.beyond <= float(values[0])
    nearest = (values - low.value).abs().min()
    assert float(nearest) <= low.residual + 1e-12


@pytest.mark.parametrize("matrix", [torch.diag(torch.tensor([2.0] * 5 + [-1.0] * 4 + [0.0] * 3)), torch.zeros(12, 12)])
def test_multiple_eigenvalues_are_all_found_in_as_many_steps(matrix: Tensor) -> None:
    krylov = lanczos(matrix.double().mv, 12, 12, generator(0))
    assert torch.allclose(torch.linalg.eigvalsh(krylov.projected), torch.linalg.eigvalsh(matrix.double()), atol=1e-12)
    assert torch.allclose(krylov.basis.T @ krylov.basis, torch.eye(12).double(), atol=1e-12)
    assert Deflated(matrix.double().mv, krylov, [slice(0, 12)], 3, generator(1)).trace.value == pytest.approx(
        float(matrix.trace()), abs=1e-12
    )


def test_a_whole_basis_leaves_nothing_to_chance() -> None:
    matrix = symmetric(2)
    found = Deflated(matrix.mv, lanczos(matrix.mv, SIZE, SIZE, generator(0)), BLOCKS, 5, generator(1))
    assert (found.trace.error, found.trace.probes) == (0.0, 0)
    assert found.trace.value == pytest.approx(float(matrix.trace()), abs=1e-11)
    assert found.frobenius_squared.value == pytest.approx(float(matrix.square().sum()), rel=1e-12)
    for place, block in enumerate(BLOCKS):
        assert found.block(place).value == pytest.approx(float(matrix[block, block].trace()), abs=1e-11)


def test_intervals_hold_as_often_as_they_say() -> None:
    """Of 400 intervals of 95 % fewer than this hold once in 1,000 tests; as do those of a block and of a weighted sum.

    The probes' sum of many terms is near a normal law, not of it: the probability asked for is 0.94.
    """
    matrix, trials = symmetric(3), 400
    block, weights = BLOCKS[0], [2.0, 0.5, 1.0]
    traces = [float(matrix[b, b].trace()) for b in BLOCKS]
    truths = [
        sum(traces),
        float(matrix[block, block].trace()),
        sum(w * t for w, t in zip(weights, traces, strict=True)),
    ]
    held = [0, 0, 0]
    for seed in range(trials):
        krylov = lanczos(matrix.mv, SIZE, 6, generator(seed))
        found = Deflated(matrix.mv, krylov, BLOCKS, 12, generator(10_000 + seed))
        for i, estimate in enumerate((found.trace, found.block(0), found.weighted(weights))):
            low, high = estimate.interval
            held[i] += low <= truths[i] <= high
    assert min(held) >= binom.ppf(1e-3, trials, 0.94)
    assert max(held) <= binom.ppf(1 - 1e-3, trials, 0.965)


def test_the_end_lies_beyond_as_seldom_as_it_says() -> None:
    """In 300 runs of 99 % more failures than this happen once in 1,000 tests, if each were as bad as allowed."""
    matrix, trials = symmetric(4), 300
    values = torch.linalg.eigvalsh(matrix)
    beyond = 0
    for seed in range(trials):
        low, high = lanczos(matrix.mv, SIZE, 12, generator(seed)).extremes()
        assert high.beyond is not None and low.beyond is not None
        beyond += bool(values[-1] > high.beyond or values[0] < low.beyond)
    assert beyond <= binom.ppf(1 - 1e-3, trials, 0.01)


def test_density_has_the_moments_of_its_start() -> None:
    matrix = symmetric(5)
    krylov = lanczos(matrix.mv, SIZE, 8, generator(0))
    values, weights = krylov.density()
    start = krylov.basis[:, 0]
    for power in range(6):
        moment = float(start @ torch.linalg.matrix_power(matrix, power) @ start)
        assert float((weights * values**power).sum()) == pytest.approx(moment, rel=1e-10)


def test_a_single_probe_has_no_interval() -> None:
    matrix = symmetric(6)
    found = Deflated(matrix.mv, lanczos(matrix.mv, SIZE, 5, generator(0)), BLOCKS, 1, generator(1))
    assert found.trace.interval == (-math.inf, math.inf)
