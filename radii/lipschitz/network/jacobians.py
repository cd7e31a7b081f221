"""The largest norm that the Jacobian of forms can have, their atoms' slopes being free within their intervals.

What forms make of two points differs by ``J(s) (x - x')``, s the slopes of the chords of all atoms, one each. J is
affine in each slope, so its norm, being convex, is largest where every slope is at an end of its interval. Entries and
atoms that no form brings together make blocks of their own, each of which is looked at alone, and equal ones once.
Formulas: docs/numerics.md 3.10.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from radii.lipschitz.network.combettes import block_norm
from radii.lipschitz.network.expansion import Expansion
from radii.lipschitz.network.forms import FREE, Array, Forms, Integers
from radii.lipschitz.network.linear import NotApplicable
from radii.lipschitz.rounding import UNIT, Upper, certified_arithmetic, up

MOST_ATOMS = 10  # of one block: 1,024 ends of intervals
MOST_ENTRIES = 2**22  # of all Jacobians of blocks of one size: 32 MiB
TIGHT = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class _Terms:
    """Terms of forms, one entry each: of the node ``row`` in column ``column``."""

    row: Integers
    column: Integers
    value: Array
    lost: Array


@certified_arithmetic()
def largest_jacobian(expansion: Expansion, made: Forms) -> Upper:
    """An upper bound of the norm, rounded up. Raises `NotApplicable`."""
    inner = _terms([batch.forms for batch in expansion.atoms], expansion.size)
    outer = _terms([made], expansion.columns)
    count = expansion.columns + len(made.constant)
    edges = np.concatenate([inner.row, outer.row]), np.concatenate([inner.column, outer.column])
    graph = scipy.sparse.coo_array((np.ones(len(edges[0]), np.int8), edges), shape=(count, count))
    _, block = scipy.sparse.csgraph.connected_components(graph, directed=False)
    kind = np.repeat([0, 1, 2], [expansion.size, expansion.columns - expansion.size, len(made.constant)])
    sizes = np.stack([np.bincount(block[kind == k], minlength=int(block.max()) + 1) for k in range(3)], axis=1)
    place = _places(block, kind, sizes)
    place = np.where(kind == 1, place + sizes[block, 0], place)  # the columns of a block: its entries, then its atoms
    slopes = np.zeros((count, 2))
    start = expansion.size
    for batch in expansion.atoms:
        stop = start + len(batch.forms.constant)
        slopes[start:stop] = batch.low, batch.high
        start = stop
    bounds = []
    for signature in np.unique(sizes[(sizes[:, 2] > 0) & (sizes[:, 0] > 0)], axis=0):
        blocks = np.flatnonzero((sizes == signature).all(axis=1))
        entries, atoms, rows = signature.tolist()
        if atoms > MOST_ATOMS or max(rows, atoms, entries) * (entries + atoms) > MOST_ENTRIES:
            raise NotApplicable("too many entries and kinks depend on one another")
        if len(blocks) * (rows + atoms) * (entries + atoms) * 2 > 4 * MOST_ENTRIES:
            raise NotApplicable("there are too many blocks")
        index = np.full(len(sizes), -1)
        index[blocks] = np.arange(len(blocks))
        outside = _filled(outer, index[block], place, (len(blocks), rows, entries + atoms), 0)
        inside = _filled(inner, index[block], place, (len(blocks), atoms, entries + atoms), entries)
        ends = np.zeros((len(blocks), atoms, 2))
        here = np.flatnonzero((kind == 1) & (index[block] >= 0))
        ends[index[block[here]], place[here] - entries] = slopes[here]
        bounds.append(_largest(*_different(outside, inside, ends), entries))
    return Upper(max(bounds, default=0.0))


def _terms(forms: list[Forms], first: int) -> _Terms:
    """Those of forms one behind the other, the first of which is the node ``first``."""
    parts: list[list[npt.NDArray[np.generic]]] = [[], [], [], []]
    for x in forms:
        rows, places = np.nonzero(x.columns != FREE)
        for part, more in zip(
            parts,
            (rows + first, x.columns[rows, places], x.coefficients[rows, places], x.lost[rows, places]),
            strict=True,
        ):
            part.append(more)
        first += len(x.constant)
    empty = ([np.zeros(0, kind)] for kind in (np.int64, np.int64, np.float64, np.float64))
    return _Terms(*(np.concatenate([*none, *part]) for none, part in zip(empty, parts, strict=True)))


def _places(block: Integers, kind: Integers, sizes: Integers) -> Integers:
    """The place of every node among those of its kind in its block, in order."""
    order = np.lexsort((np.arange(len(block)), kind, block))
    starts = np.cumsum(np.concatenate([[0], sizes.reshape(-1)]))[:-1].reshape(sizes.shape)
    made = np.empty(len(block), np.int64)
    made[order] = np.arange(len(block)) - starts[block[order], kind[order]]
    return made


def _filled(terms: _Terms, index: Integers, place: Integers, shape: tuple[int, int, int], less: int) -> Array:
    """(2, *shape) the blocks of coefficients, and of what they may be off."""
    made = np.zeros((2, *shape))
    here = index[terms.row] >= 0
    row, column = terms.row[here], terms.column[here]
    at = index[row], place[row] - less, place[column]
    made[0][at], made[1][at] = terms.value[here], terms.lost[here]
    return made


def _different(outside: Array, inside: Array, ends: Array) -> tuple[Array, Array, Array]:
    """Every kind of block once."""
    parts = [outside.swapaxes(0, 1), inside.swapaxes(0, 1), ends]
    flat = np.ascontiguousarray(np.concatenate([part.reshape(len(ends), -1) for part in parts], axis=1)) + 0.0
    _, first = np.unique(flat.view([("", flat.dtype)] * flat.shape[1]) if flat.shape[1] else flat, return_index=True)
    return outside[:, first], inside[:, first], ends[first]


def _largest(outside: Array, inside: Array, ends: Array, entries: int) -> Upper:
    (rows, rows_lost), (atoms, atoms_lost) = outside, inside
    count, number, height = len(rows), atoms.shape[1], rows.shape[1]
    corners = 2**number
    if count * corners * max(height, number) * entries > MOST_ENTRIES:
        raise NotApplicable("its kinks have too many combinations")
    nested = bool((atoms[:, :, entries:] != 0).any())
    if nested and (atoms_lost.any() or rows_lost.any()):
        raise NotApplicable("kinks of kinks have been rounded")
    high = (np.arange(corners)[:, None] >> np.arange(number)) & 1 == 1
    slopes = np.where(high, ends[:, None, :, 1], ends[:, None, :, 0])  # (blocks, corners, atoms)
    made = np.zeros((count, corners, number, entries))
    for k in range(number):
        form = atoms[:, None, k, :entries] + (atoms[:, None, k, None, entries : entries + k] @ made[:, :, :k])[:, :, 0]
        made[:, :, k] = slopes[:, :, k, None] * form
    jacobians = rows[:, None, :, :entries] + rows[:, None, :, entries:] @ made
    steepest = max(1.0, float(np.abs(ends).max(initial=0.0)))
    outer, inner, outer_lost, inner_lost = (
        float(np.sqrt((part * part).sum(axis=(1, 2)).max())) for part in (rows, atoms, rows_lost, atoms_lost)
    )
    behind = 1 + steepest * (inner + inner_lost)  # what is in front of the rows, entries and atoms together
    lost = outer_lost * behind + outer * steepest * inner_lost
    rounded = 64 * (number + 2) * UNIT * outer * behind ** max(1, number if nested else 1)
    error = up((lost + rounded) * (1 + 2.0**-30))
    if not math.isfinite(error):
        raise NotApplicable("its numbers overflow")
    return block_norm(jacobians.reshape(-1, height, entries), error, TIGHT)
