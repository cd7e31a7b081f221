"""Batches of blocks: Cholesky against the spectrum, triangles against products."""

import numpy as np
import pytest

from radii.lipschitz import blocks


def hermitian(rng: np.random.Generator, count: int, order: int) -> np.ndarray:
    parts = rng.standard_normal((2, count, order, order))
    made = parts[0] + 1j * parts[1]
    return made + blocks.adjoint(made)


@pytest.mark.parametrize("order", [1, 2, 5, blocks.BATCHED_UP_TO, blocks.BATCHED_UP_TO + 1, 40])
def test_cholesky_ends_exactly_where_no_eigenvalue_is_above_the_level(order: int) -> None:
    rng = np.random.default_rng(order)
    given = hermitian(rng, 60, order)
    largest = np.linalg.eigvalsh(given)[:, -1]
    for share in (-1e-9, 1e-9):
        levels = largest + share * np.abs(largest)
        assert (blocks.positive_definite(-given, levels) == (share > 0)).all()
    levels = largest + rng.choice([-0.1, 0.1], 60)
    assert (blocks.positive_definite(-given, levels) == (levels > largest)).all()


@pytest.mark.parametrize("order", [3, blocks.BATCHED_UP_TO + 1])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_block_that_is_not_finite_does_not_pass(order: int, wrong: float) -> None:
    for i, j in ((0, 0), (order - 1, order - 1), (order - 1, 0)):
        given = np.zeros((3, order, order), dtype=complex)
        given[1, i, j] = given[1, j, i] = wrong
        with np.errstate(all="ignore"):
            assert blocks.positive_definite(given, np.ones(3)).tolist() == [True, False, True]


@pytest.mark.parametrize("kind", [float, complex])
def test_triangles_are_solved(kind: type) -> None:
    rng = np.random.default_rng(0)
    below = np.tril(rng.standard_normal((4, 7, 7)), -1)
    lower = np.eye(7) + (below if kind is float else below * (1 + 0.5j))
    for count in (4, 1):
        right: np.ndarray = rng.standard_normal((count, 7, 3)).astype(kind)
        assert lower @ blocks.solved(lower, right) == pytest.approx(np.broadcast_to(right, (4, 7, 3)))
        back = blocks.adjoint(lower) @ blocks.solved(lower, right, adjointly=True)
        assert back == pytest.approx(np.broadcast_to(right, (4, 7, 3)))


def test_real_blocks_have_the_norms_of_complex_ones() -> None:
    rng = np.random.default_rng(1)
    given = rng.standard_normal((3, 4, 5)) + 1j * rng.standard_normal((3, 4, 5))
    assert np.linalg.norm(blocks.real(given), 2, axis=(1, 2)) == pytest.approx(np.linalg.norm(given, 2, axis=(1, 2)))
    x = rng.standard_normal((3, 5)) + 1j * rng.standard_normal((3, 5))
    whole = np.concatenate([x.real, -x.imag], axis=1).reshape(-1)
    assert blocks.gathered(given)[0] @ whole == pytest.approx(np.einsum("bmn,bn->m", given, x).real)
