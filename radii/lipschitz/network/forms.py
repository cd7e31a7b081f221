"""Activations as affine forms, and sums and multiples of them.

Every entry is ``sum_j c_j x_j + sum_k c_k a_k + constant``, where x is the source and an *atom* ``a_k`` a function of
earlier forms (:mod:`radii.lipschitz.network.expansion`). Two forms are equal only where both were computed without
rounding; each coefficient carries a bound of what rounding may have moved it by. Formulas: docs/numerics.md 3.10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from radii.graph.operator import Shape
from radii.lipschitz.network.linear import NotApplicable
from radii.lipschitz.rounding import UNIT

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

FREE = 2**62  # a column that stands for none
MOST_ENTRIES = 2**20  # coefficients of one activation
SMALLEST = 2.0**-600  # coefficient; none is larger than its inverse


@dataclass(frozen=True, slots=True, eq=False)
class Forms:
    """The entries of an activation, flattened, n of them, with at most t terms each.

    Attributes:
        columns: (n, t), rising in each row; `FREE` behind the last term.
        coefficients: (n, t).
        lost: (n, t): what rounding may have moved them by.
        constant: (n,): where ``exact`` does not hold, anything.
        exact: (n,): whether nothing was rounded, and sums and differences of such rows will not be either.
    """

    shape: Shape
    columns: Integers
    coefficients: Array
    lost: Array
    constant: Array
    exact: npt.NDArray[np.bool_]


def single(shape: Shape, columns: Integers) -> Forms:
    """One column an entry."""
    n = len(columns)
    return Forms(shape, columns[:, None], np.ones((n, 1)), np.zeros((n, 1)), np.zeros(n), np.ones(n, bool))


def constant(values: npt.NDArray[np.floating], shape: Shape) -> Forms:
    """Constants, broadcast to a shape."""
    flat = np.broadcast_to(np.asarray(values, np.float64), shape).reshape(-1)
    nothing = np.zeros((len(flat), 0))
    return tidied(shape, nothing.astype(np.int64), nothing, nothing, flat, np.ones(len(flat), bool))


def taken(x: Forms, index: Integers, shape: Shape) -> Forms:
    """Entries at flat places."""
    parts = (part[index] for part in (x.columns, x.coefficients, x.lost, x.constant, x.exact))
    return Forms(shape, *parts)  # type: ignore[arg-type]


def stacked(given: Sequence[Forms]) -> Forms:
    """The entries of all, one behind the other."""
    width = max(x.columns.shape[1] for x in given)
    padded = [_padded(x, width) for x in given]
    parts = ("columns", "coefficients", "lost", "constant", "exact")
    together = [np.concatenate([getattr(x, part) for x in padded]) for part in parts]
    return Forms((len(together[-1]),), *together)


def spread(x: Forms, shape: Shape) -> Forms:
    """Broadcast to a shape."""
    if x.shape == shape:
        return x
    return taken(x, np.broadcast_to(np.arange(len(x.constant)).reshape(x.shape), shape).reshape(-1), shape)


def added(terms: Sequence[tuple[float, Forms]]) -> Forms:
    """The sum of forms of one shape, each times 1 or -1."""
    forms = [x for _, x in terms]
    return tidied(
        forms[0].shape,
        np.concatenate([x.columns for x in forms], axis=1),
        np.concatenate([sign * x.coefficients for sign, x in terms], axis=1),
        np.concatenate([x.lost for x in forms], axis=1),
        np.sum([sign * x.constant for sign, x in terms], axis=0),
        np.logical_and.reduce([x.exact for x in forms]) & (len(forms) <= 64),
    )


def times(x: Forms, factors: Array, *, exact: bool | npt.NDArray[np.bool_] = True) -> Forms:
    """Every entry times its factor, which errs by a rounding or two where it is not ``exact``."""
    mantissa = np.abs(np.frexp(factors)[0])
    exact = np.broadcast_to(np.asarray(exact) & ((mantissa == 0.5) | (mantissa == 0)), x.constant.shape)
    column = np.broadcast_to(factors, x.constant.shape)[:, None]
    coefficients = x.coefficients * column
    lost = x.lost * np.abs(column) * (1 + 4 * UNIT) + np.where(exact[:, None], 0.0, 4 * UNIT) * np.abs(coefficients)
    return tidied(x.shape, x.columns, coefficients, lost, x.constant * column[:, 0], x.exact & exact)


def tidied(
    shape: Shape, columns: Integers, coefficients: Array, lost: Array, constants: Array, exact: npt.NDArray[np.bool_]
) -> Forms:
    """With every column once. Raises `NotApplicable` where that is too much, or beyond range."""
    if columns.size > 4 * MOST_ENTRIES:
        raise NotApplicable("its forms are too large")
    columns, coefficients, lost = _sorted(columns, coefficients, lost)
    for j in range(1, columns.shape[1]):
        same = (columns[:, j] == columns[:, j - 1]) & (columns[:, j] != FREE)
        if not same.any():
            continue
        total = coefficients[:, j] + coefficients[:, j - 1]
        rounded = np.where(exact, 0.0, 2 * UNIT * np.abs(total))
        lost[:, j] = np.where(same, (lost[:, j] + lost[:, j - 1]) * (1 + 4 * UNIT) + rounded, lost[:, j])
        coefficients[:, j] = np.where(same, total, coefficients[:, j])
        columns[same, j - 1], coefficients[same, j - 1], lost[same, j - 1] = FREE, 0.0, 0.0
    columns = np.where((coefficients == 0) & (lost == 0), FREE, columns)
    columns, coefficients, lost = _sorted(columns, coefficients, lost)
    used = int((columns != FREE).sum(axis=1).max(initial=0))
    columns, coefficients, lost = columns[:, :used], coefficients[:, :used], lost[:, :used]
    sizes = np.abs(coefficients[coefficients != 0])
    if columns.size > MOST_ENTRIES or not np.all((sizes > SMALLEST) & (sizes < 1 / SMALLEST)):
        raise NotApplicable("its forms are too large, or beyond the range of float64")
    exact = exact & plain(coefficients).all(axis=1) & plain(constants)
    return Forms(shape, columns, coefficients, lost, constants, exact)


def _sorted(columns: Integers, coefficients: Array, lost: Array) -> tuple[Integers, Array, Array]:
    order = np.argsort(columns, axis=1, kind="stable")
    made = (np.take_along_axis(part, order, axis=1) for part in (columns, coefficients, lost))
    return tuple(made)  # type: ignore[return-value]


def plain(values: Array) -> npt.NDArray[np.bool_]:
    """Multiples of 2^-40 below 2^6: 64 of them add up in float64 without rounding."""
    made: npt.NDArray[np.bool_] = (np.abs(values) < 64) & (np.rint(values * 2.0**40) == values * 2.0**40)
    return made


def keys_of(x: Forms) -> list[bytes]:
    """Rows as bytes, the same where forms are."""
    numbers, constants = x.coefficients + 0.0, x.constant + 0.0  # no negative zeros
    used = (x.columns != FREE).sum(axis=1).tolist()
    return [
        x.columns[i, :n].tobytes() + numbers[i, :n].tobytes() + constants[i : i + 1].tobytes()
        for i, n in enumerate(used)
    ]


def equal(a: Forms, b: Forms) -> npt.NDArray[np.float64]:
    """(n,): 1 where forms are the same numbers."""
    width = max(a.columns.shape[1], b.columns.shape[1])
    a, b = _padded(a, width), _padded(b, width)
    same = (a.columns == b.columns).all(1) & (a.coefficients == b.coefficients).all(1) & (a.constant == b.constant)
    made: npt.NDArray[np.float64] = same.astype(np.float64)
    return made


def is_zero(x: Forms) -> npt.NDArray[np.bool_]:
    made: npt.NDArray[np.bool_] = (x.columns == FREE).all(axis=1) & (x.constant == 0)
    return made


def _padded(x: Forms, width: int) -> Forms:
    more = ((0, 0), (0, width - x.columns.shape[1]))
    return replace(
        x,
        columns=np.pad(x.columns, more, constant_values=FREE),
        coefficients=np.pad(x.coefficients, more),
        lost=np.pad(x.lost, more),
    )
