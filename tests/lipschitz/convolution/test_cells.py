"""Branch and bound over frequency cells, against the SVD of every Fourier block and of frequencies in between."""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from radii.lipschitz import conv_norm
from radii.lipschitz.convolution import search as search_module
from radii.lipschitz.convolution.cells import WIDEST, Grid
from radii.lipschitz.convolution.iterated import iterate
from radii.lipschitz.convolution.peaks import Peak, foreseen, peaks
from radii.lipschitz.convolution.search import Search
from radii.lipschitz.convolution.symbol import symbol

TRUST = 1e-13  # of a float64 SVD, relative


def blocks(kernel: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """(B, out, in): ``sum_t K[t] e^{-2 pi i <turns, t>}`` of one group, by the definition."""
    taps = np.stack([axis.ravel() for axis in np.indices(kernel.shape[2:])])
    return np.einsum("oit,bt->boi", kernel.reshape(*kernel.shape[:2], -1), np.exp(-2j * np.pi * turns @ taps))


def norm_at(kernel: np.ndarray, turns: np.ndarray) -> np.ndarray:
    return np.linalg.norm(blocks(kernel, turns), 2, axis=(1, 2))


def grid_points(sizes: Sequence[int], halves: Sequence[int] | None = None) -> np.ndarray:
    halves = halves or (0,) * len(sizes)
    axes = [(np.arange(size) + half / 2) / size for size, half in zip(sizes, halves, strict=True)]
    return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)


def kernels(seed: int, count: int) -> Iterator[tuple[np.random.Generator, np.ndarray]]:
    """Random kernels (out, in, *taps), some smooth, some alternating, some with a flat symbol or zeros around."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        taps = rng.integers(1, 5, rng.choice([1, 2, 2]))
        kernel = rng.standard_normal((*rng.integers(1, 6, 2), *taps))
        if i % 4 == 1:
            kernel = np.abs(kernel) * (-1.0) ** (rng.integers(0, 2) * np.indices(kernel.shape).sum(0))
        if i % 4 == 2:
            kernel[..., rng.integers(0, taps[-1])] = 0
        if kernel.any():
            yield rng, kernel


def test_grid_bounds_hold_at_every_point_and_are_reached() -> None:
    for rng, kernel in kernels(seed=1, count=150):
        gram = symbol(kernel[np.newaxis])
        sizes = tuple(int(rng.integers(1, 40)) if degree else 1 for degree in gram.degree)
        halves = tuple(int(rng.integers(0, 2)) if degree else 0 for degree in gram.degree)
        grid = Grid(sizes, halves)
        largest = Search(gram, grid, start=foreseen(peaks(gram), [(sizes, grid.twists)])[0], rtol=1e-6).run()
        true = float(norm_at(kernel, grid_points(sizes, halves)).max()) ** 2
        assert largest is not None
        assert true * (1 - 2 * TRUST) <= largest.grid <= true * (1 + 2e-6), (kernel.shape, sizes, halves)
        assert 0 < largest.found <= true * (1 + 2 * TRUST)


def test_bounds_over_all_frequencies_hold_between_grid_points() -> None:
    for _, kernel in kernels(seed=2, count=30):
        bound = conv_norm(kernel, None)
        fine = norm_at(kernel, grid_points([96 if taps > 1 else 1 for taps in kernel.shape[2:]]))
        assert bound.upper >= fine.max() * (1 - TRUST)
        assert bound.upper <= fine.max() * (1 + 0.02)  # what 96 points per turn may miss
        assert bound.method in ("cells", "gram")
        assert bound.lower <= bound.upper
        assert bound.lower > 0.999 * bound.upper


@pytest.mark.parametrize("size", [2, 3, 5, 8])
def test_a_coarse_grid_times_its_cosine_bounds_all_frequencies_and_can_be_reached(size: int) -> None:
    # s(t) = |1 + e^{2 pi i t}| is the extremal kernel: between two points of a twisted grid it loses all the cosine
    sum_of_two = symbol(np.ones((1, 1, 1, 2)))
    grid = Grid((size,), (1,))
    at_points = norm_at(np.ones((1, 1, 2)), grid_points((size,), (1,))).max()
    if math.pi / (2 * size) <= WIDEST:
        assert math.sqrt(grid.anywhere(at_points**2, sum_of_two.degree)) == pytest.approx(2, rel=1e-12)
    else:
        assert grid.anywhere(at_points**2, sum_of_two.degree) == math.inf
    for rng, kernel in itertools.islice(kernels(seed=size, count=40), 20):
        gram = symbol(kernel[np.newaxis])
        sizes = tuple(size * d if d else 1 for d in gram.degree)
        halves = tuple(int(rng.integers(0, 2)) if d else 0 for d in gram.degree)
        coarse = norm_at(kernel, grid_points(sizes, halves)).max()
        fine = norm_at(kernel, grid_points([60 if d else 1 for d in gram.degree])).max()
        assert math.sqrt(Grid(sizes, halves).anywhere(coarse**2, gram.degree)) >= fine * (1 - TRUST)


def test_a_value_falls_off_no_faster_than_the_cosine() -> None:
    """``lambda(t + dt) >= S^2 cos^2(w)``, the inequality all cells rest on, near the maximum of random symbols."""
    for rng, kernel in kernels(seed=3, count=60):
        degree = np.array(kernel.shape[2:]) - 1
        points = grid_points([48 if d else 1 for d in degree])
        values = norm_at(kernel, points)
        top, best = values.max(), points[values.argmax()]
        steps = rng.uniform(-0.5, 0.5, (50, len(degree))) / np.maximum(degree, 1)
        width = np.abs(steps) @ degree * np.pi
        near = width < np.pi / 2
        assert (norm_at(kernel, best + steps[near]) >= top * np.cos(width[near]) * (1 - 1e-3) - 1e-9).all()


def test_a_flat_symbol_is_loosened_rather_than_split_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    kernel = np.linalg.qr(rng.standard_normal((4, 4)))[0][..., np.newaxis, np.newaxis]
    for axis in (2, 3) * 2:  # a product of (P + (I - P) shift): orthogonal at every frequency
        half = np.linalg.qr(rng.standard_normal((4, 2)))[0]
        project = half @ half.T
        grown = np.zeros([size + (a == axis) for a, size in enumerate(kernel.shape)])
        stay, move = ((slice(None),) * axis + (slice(*ends),) for ends in ((None, -1), (1, None)))
        grown[stay] += np.einsum("ij,j...->i...", project, kernel)
        grown[move] += np.einsum("ij,j...->i...", np.eye(4) - project, kernel)
        kernel = grown
    monkeypatch.setattr(search_module, "MOST_ENTRIES", 0)
    monkeypatch.setattr(search_module, "MOST_CELLS", 256)
    bound = conv_norm(kernel, None)
    assert 1 - TRUST <= bound.upper < 1.1
    assert bound.iterations < 2000


def test_gram_iteration_and_cholesky_prove_the_same() -> None:
    for rng, kernel in kernels(seed=5, count=40):
        gram = symbol(kernel[np.newaxis])
        sizes = tuple(int(rng.integers(1, 20)) if degree else 1 for degree in gram.degree)
        grid = Grid(sizes, tuple(int(d > 0) for d in gram.degree))
        start = foreseen(peaks(gram), [(sizes, grid.twists)])[0]
        true = float(norm_at(kernel, grid_points(sizes, grid.halves)).max()) ** 2
        assert true * (1 - 2 * TRUST) <= iterate(gram, grid, start, 1e-6).grid <= true * (1 + 1e-6)


@pytest.mark.parametrize("short", [0.5, 0.1, 0.03, 0.01, 0.001])
def test_a_wrong_start_costs_time_only(short: float) -> None:
    """Started elsewhere and below the maximum, the search has to find it: at a border of the half, too."""
    rng = np.random.default_rng(6)
    cases = [(np.array([[[1.0, sign]]]), Grid((64,), (0,))) for sign in (1, -1)]  # largest at frequency 0 or 1/2
    for axes in (1, 2) * 6:
        sizes, halves = rng.integers(20, 200 // axes**2, axes).tolist(), rng.integers(0, 2, axes).tolist()
        kernel = rng.standard_normal((*rng.integers(1, 5, 2), *rng.integers(2, 4, axes)))
        cases.append((kernel, Grid(tuple(sizes), tuple(halves))))
    for size in range(30, 38):  # of two axes alike, cells are diamonds
        cases.append((rng.standard_normal((4, 4, 3, 3)), Grid((size, size), (size % 2, size % 3 % 2))))
    for kernel, grid in cases:
        gram, sizes = symbol(kernel[np.newaxis]), grid.sizes
        true = float(norm_at(kernel, grid_points(sizes, grid.halves)).max()) ** 2
        start = Peak(rng.random(len(sizes)), 0, (1 - short) * true, peaks(gram)[0].model)
        largest = Search(gram, grid, start=start, rtol=1e-6).run()
        assert largest is not None
        assert true * (1 - 2 * TRUST) <= largest.grid <= true * (1 + 2e-6), (kernel.shape, grid)
        if math.isfinite(largest.anywhere):
            anywhere = (
                float(norm_at(kernel, grid_points([211] * len(sizes) if len(sizes) == 1 else [45, 44])).max()) ** 2
            )
            assert anywhere * (1 - 2 * TRUST) <= largest.anywhere


@pytest.mark.parametrize(
    ("sizes", "halves"), [((9, 9), (0, 0)), ((12, 12), (1, 1)), ((40, 34), (0, 1)), ((40, 9), (0, 0)), ((7, 1), (0, 0))]
)
@pytest.mark.parametrize("width", [0.6, 0.4, 0.2])
def test_cells_of_any_generation_hold_every_frequency(
    sizes: tuple[int, int], halves: tuple[int, int], width: float
) -> None:
    """Squares and diamonds: each point, and what lies nearest to it, is as near to a centre as the cell says."""
    kernel = np.random.default_rng(8).standard_normal((2, 2, *(3 if size > 1 else 1 for size in sizes)))
    gram, grid = symbol(kernel[np.newaxis]), Grid(sizes, halves)
    search = Search(gram, grid, start=foreseen(peaks(gram), [(sizes, grid.twists)])[0], rtol=1e-6)
    tiling, rng = search.tiling, np.random.default_rng(9)
    half = (rng.integers(0, grid.used, (400, 2)) + np.array(halves) / 2 + rng.uniform(-0.5, 0.5, (400, 2))) / sizes
    degree = np.array(gram.degree)
    cells = tiling.cover(width)
    for i in range(len(cells)):
        inner = cell = cells[np.array([i])]
        while not (inner.points == 1).all():
            inner = tiling.split(inner)
        centre, points = (tiling.place(each)[0] / (4 * np.array(sizes)) for each in (cell, inner))
        apart = np.abs(points - centre) @ degree * np.pi
        assert (apart + tiling.final <= tiling.width(cell) + 1e-12).all()
    while True:
        numerators, denominators = tiling.place(cells)
        far = half[:, np.newaxis] - numerators / denominators
        far = np.abs(far - np.rint(far)) @ degree * np.pi  # around the torus
        assert (far <= tiling.width(cells) + 1e-12).any(axis=1).all()
        if (cells.points == 1).all():
            break
        cells = tiling.split(cells)
    points = [tuple(place) for place in (numerators - 2 * np.array(halves)) // 4 % np.array(sizes)]
    assert set(points) >= set(np.ndindex(grid.used))
    assert len(points) == len(set(points))
    largest = search.run()
    assert largest is not None and largest.grid * (1 - 1e-5) <= largest.found <= largest.grid


def test_a_search_is_given_up_once_beyond() -> None:
    kernel = np.random.default_rng(7).standard_normal((3, 3, 3))
    gram = symbol(kernel[np.newaxis])
    grid = Grid((20,), (0,))
    start = foreseen(peaks(gram), [(grid.sizes, grid.twists)])[0]
    low = type(start)(start.turns, 0, 0.5 * start.value, start.model)
    assert Search(gram, grid, start=low, rtol=1e-6, beyond=0.8 * start.value).run() is None
