"""Lines that rearrange data, run as they are printed."""

import re
from itertools import permutations, product
from math import prod

import numpy as np
import pytest

from radii.shapes import rearrangement


def lines(said: str) -> list[str]:
    """The lines of Python in it."""
    return re.findall(r"x = (x(?:\.(?:transpose|reshape)\((?:len\(x\), )?[0-9, ]+\))+)", said)


def run(line: str, x: np.ndarray) -> np.ndarray:
    made = eval(line, {"__builtins__": {}, "len": len, "x": x})  # the test's own text
    assert isinstance(made, np.ndarray)
    return made


@pytest.mark.parametrize(
    ("has", "wants", "line"),
    [
        ((8, 8, 3), (3, 8, 8), "x.transpose(0, 3, 1, 2)"),
        ((3, 8, 8), (8, 8, 3), "x.transpose(0, 2, 3, 1)"),
        ((5, 8, 3), (3, 5, 8), "x.transpose(0, 3, 1, 2)"),
        ((28, 28, 1), (1, 28, 28), "x.transpose(0, 3, 1, 2)"),
        ((100, 6), (6, 100), "x.transpose(0, 2, 1)"),
        ((28, 28), (1, 28, 28), "x.reshape(len(x), 1, 28, 28)"),
        ((1, 28, 28), (28, 28), "x.reshape(len(x), 28, 28)"),
        ((32, 32, 3), (1, 3, 32, 32), "x.transpose(0, 3, 1, 2).reshape(len(x), 1, 3, 32, 32)"),
        ((1, 8, 8), (64,), "x.reshape(len(x), 64)"),
        ((64,), (1, 8, 8), "x.reshape(len(x), 1, 8, 8)"),
        ((8, 8, 8, 3), (3, 8, 8, 8), "x.transpose(0, 4, 1, 2, 3)"),
        ((3, 64), (3, 8, 8), "x.reshape(len(x), 3, 8, 8)"),
    ],
)
def test_the_first_line(has: tuple[int, ...], wants: tuple[int, ...], line: str) -> None:
    said = rearrangement(has, wants)
    assert said is not None and lines(said)[0] == line


def test_a_transpose_moves_axes_and_nothing_else() -> None:
    """Every permutation of every shape of three axes: the first line undoes it if lengths differ; of equal lengths all
    possibilities are named, the true one among them."""
    for wants in product((1, 2, 3, 4), repeat=3):
        x = np.arange(2 * prod(wants)).reshape(2, *wants)
        for order in permutations((1, 2, 3)):
            given = x.transpose(0, *order)
            if given.shape == x.shape:
                continue
            said = rearrangement(given.shape[1:], wants)
            assert said is not None
            made = [run(line, given) for line in lines(said)]
            assert all(one.shape == x.shape for one in made)
            assert any(np.array_equal(one, x) for one in made)
            long = [length for length in wants if length != 1]
            assert len(made) == (1 if len(set(long)) == len(long) else len({one.tobytes() for one in made}))


def test_what_flattening_hides_is_a_condition() -> None:
    """An image that was flattened, by channels or by pixels, and the other way round; for networks of either order."""
    first = np.arange(2 * 3 * 8 * 8).reshape(2, 3, 8, 8)
    last = first.transpose(0, 2, 3, 1)
    for one, other in ((first, last), (last, first)):
        same, turned = lines(rearrangement((192,), one.shape[1:]) or "")
        assert np.array_equal(run(same, one.reshape(2, -1)), one)
        assert np.array_equal(run(turned, other.reshape(2, -1)), one)
        same, turned = lines(rearrangement(one.shape[1:], (192,)) or "")
        assert np.array_equal(run(same, one), one.reshape(2, -1))
        assert np.array_equal(run(turned, one), other.reshape(2, -1))


@pytest.mark.parametrize(("has", "wants"), [((3, 32, 32), (3, 8, 8)), ((64,), (63,)), ((1, 28, 28), (3, 28, 28))])
def test_what_nothing_rearranges(has: tuple[int, ...], wants: tuple[int, ...]) -> None:
    assert rearrangement(has, wants) is None
