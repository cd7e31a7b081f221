"""Where a symbol is largest: an estimate, which only proposes what :mod:`radii.lipschitz.cells` goes on to prove."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from radii.lipschitz.blocks import positive_definite, power, top_eigenvectors
from radii.lipschitz.symbol import Integers, Symbol

Array = npt.NDArray[np.float64]

CHUNK_BYTES = 2**24  # of blocks held at a time, unless that makes them
CHUNK = 16  # fewer than this
COARSE_ITEMS = 2**14  # blocks looked at first, at most
COARSE_ENTRIES = 2**23  # numbers in them, at most, unless that leaves fewer than 64 blocks
EXTRA = 4
CLIMBS = 3  # maxima looked for
WORTH = 0.985  # of the largest eigenvalue found: what a frequency must exceed to be climbed from
VECTORS = 6  # eigenvectors at a maximum: the small model of its surroundings
RESOLUTION = 2**40  # turns are proposed as fractions of this


@dataclass(frozen=True, slots=True)
class Peak:
    """A high point of the largest eigenvalue: where, in which group, and a small symbol that is like it nearby."""

    turns: Array
    group: int
    value: float
    model: Symbol


def peaks(symbol: Symbol, *, accurate: bool = False) -> list[Peak]:
    """The highest maxima found, highest first. ``accurate``: climbed to about 1e-5 turns."""
    turns, group, spacing = _coarse(symbol)
    chunk = max(CHUNK, CHUNK_BYTES // symbol.bytes_per_block)
    buffer = symbol.parts.new_empty((min(chunk, len(turns)), symbol.parts.shape[2]))

    def blocks(items: Integers, sign: float) -> Iterator[torch.Tensor]:
        for first in range(0, len(items), chunk):
            some = items[first : first + chunk]
            yield at(symbol, turns[some], group[some], sign=sign, out=buffer)

    waiting = np.arange(len(turns))
    guesses = np.concatenate([power(part, steps=6) for part in blocks(waiting, 1.0)])
    waiting = np.argsort(-guesses)
    found: list[Peak] = []
    while len(waiting) and len(found) < CLIMBS:
        best, rest = waiting[0], waiting[1:]
        found.append(_peak(symbol, turns[best], int(group[best]), spacing, accurate=accurate))
        peak = found[-1]
        rest = rest[[not (group[i] == peak.group and _same(turns[i], peak.turns, spacing)) for i in rest]]
        threshold = WORTH * max(peak.value for peak in found)
        low = [positive_definite(part, np.full(len(part), threshold)) for part in blocks(rest, -1.0)]
        waiting = rest[~np.concatenate(low)] if low else rest
    return sorted(found, key=lambda peak: -peak.value)


def at(
    symbol: Symbol, turns: Array, group: Integers, *, sign: float = 1.0, out: torch.Tensor | None = None
) -> torch.Tensor:
    """Blocks at turns given as floats (B, axes)."""
    numerators = np.rint(turns * RESOLUTION).astype(np.int64)
    return symbol.blocks(numerators, np.full(turns.shape[1], RESOLUTION), group, sign=sign, out=out)


def _coarse(symbol: Symbol) -> tuple[Array, Integers, Array]:
    """Turns (B, axes) of a grid that resolves the symbol, half of it, for each group; and the grid's spacing."""
    most = min(COARSE_ITEMS, max(64, COARSE_ENTRIES // symbol.order**2))
    sizes = [2 * d + EXTRA if d else 1 for d in symbol.degree]
    while math.prod(sizes) * symbol.groups > 2 * most and max(sizes) > 3:
        sizes[int(np.argmax(sizes))] = max(3, int(0.8 * max(sizes)))
    half = [*sizes[:-1], sizes[-1] // 2 + 1]
    turns = np.stack(np.unravel_index(np.arange(math.prod(half)), half), axis=1) / np.array(sizes)
    group = np.tile(np.arange(symbol.groups), len(turns))
    return np.repeat(turns, symbol.groups, axis=0), group, 1 / np.array(sizes)


def _climb(model: Symbol, turns: Array, reach: Array, *, rounds: int) -> Array:
    """The best point of ever finer stencils of a compressed symbol."""
    axes = len(turns)
    stencil = np.array(list(itertools.product((-1.0, -0.5, 0.0, 0.5, 1.0), repeat=axes)))
    stencil = stencil[np.abs(stencil).sum(axis=1).argsort(kind="stable")]  # ties: stay
    for _ in range(rounds):
        points = turns + stencil * reach
        turns = points[int(model.estimate(points).argmax())]
        reach = reach / 3
    return turns


def _same(one: Array, other: Array, spacing: Array) -> bool:
    """Whether two turns, or one and the other's conjugate, are within the spacing of a grid."""
    return any(bool((np.abs((d + 0.5) % 1 - 0.5) < 0.75 * spacing).all()) for d in (one - other, one + other))


def _peak(symbol: Symbol, turns: Array, group: int, spacing: Array, *, accurate: bool) -> Peak:
    count, numbers = min(VECTORS, symbol.order), np.array([group])
    reach = spacing / 2
    for _ in range(6 if accurate else 3):
        _, vectors = top_eigenvectors(at(symbol, turns[np.newaxis], numbers)[0], count)
        model = symbol.compressed(vectors, group)
        turns = _climb(model, turns, reach, rounds=5)
        reach = reach / 8 if accurate else reach / 2
    return Peak(turns, group, float(model.estimate(turns[np.newaxis])[0]), model)


def foreseen(found: Sequence[Peak], grids: Sequence[tuple[Sequence[int], Sequence[float]]]) -> list[Peak]:
    """The highest point of each grid by the peaks' models, whose value is about from below.

    ``grids``: sizes and twists, points lying at ``(j + twist) / size`` turns.
    """
    sizes, twists = (np.array(parts)[:, np.newaxis] for parts in zip(*grids, strict=True))  # (G, 1, axes)
    corners = np.array(list(itertools.product((0, 1), repeat=sizes.shape[-1])))
    best: list[Peak] = []
    for peak in found:
        around = (np.floor(peak.turns * sizes - twists) + corners + twists) / sizes  # (G, corners, axes)
        values = peak.model.estimate(around.reshape(-1, sizes.shape[-1])).reshape(len(grids), -1)
        places = zip(around, values, values.argmax(axis=1), strict=True)
        points = [replace(peak, turns=turns[i], value=float(value[i])) for turns, value, i in places]
        best = [max(pair, key=lambda point: point.value) for pair in zip(best or points, points, strict=True)]
    return best
