"""Where a symbol is largest: an estimate, which only proposes what `radii.lipschitz.convolution.search` then proves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from radii.lipschitz.blocks import Blocks, top_eigenvectors
from radii.lipschitz.convolution.symbol import Integers, Symbol, block_work, lags_of

Array = npt.NDArray[np.float64]

COARSE_ITEMS = 2**14  # frequencies looked at first, at most
COARSE_ENTRIES = 2**22  # numbers held to climb from them, at most, unless that leaves fewer than 64 blocks
EXTRA = 4
ASCENT = 28  # steps uphill from all frequencies looked at first
TINY = np.float32(1e-6)  # a value may be zero
CLIMBS = 4  # maxima looked at closer
WORTH = 0.985  # of the largest eigenvalue found: what a maximum must exceed for that
VECTORS = 6  # eigenvectors at a maximum: the small model of its surroundings
RESOLUTION = 2**40  # turns are proposed as fractions of this


@dataclass(frozen=True, slots=True)
class Peak:
    """A high point of the largest eigenvalue: where, in which group, and a small symbol that is like it nearby."""

    turns: Array
    group: int
    value: float
    model: Symbol


def peaks_work(kernel: Array) -> int:
    """Multiply-adds of `peaks`, about, of a kernel (groups, out, in, *taps) before it has a symbol."""
    order, taps = int(min(kernel.shape[1:3])), kernel.shape[3:]
    points = min(COARSE_ITEMS, len(kernel) * int(math.prod(2 * t + EXTRA for t in taps if t > 1)))
    return ASCENT * 4 * lags_of(kernel) * order**2 * points // 2 + CLIMBS * 3 * block_work(kernel)


def peaks(symbol: Symbol, *, accurate: bool = False) -> list[Peak]:
    """The highest maxima found, highest first. ``accurate``: climbed to about 1e-5 turns."""
    turns, group, spacing = _coarse(symbol)
    values, turns = _ascend(symbol, turns, spacing)
    waiting = np.argsort(-values)
    found: list[Peak] = []
    while len(waiting) and len(found) < CLIMBS and values[waiting[0]] >= WORTH * values.max():
        best, rest = waiting[0], waiting[1:]
        peak = _peak(symbol, turns[best], int(group[best]), spacing, accurate=accurate)
        found.append(peak)
        waiting = rest[[not (group[i] == group[best] and _same(turns[i], turns[best], spacing)) for i in rest]]
    return sorted(found, key=lambda peak: -peak.value)


def at(symbol: Symbol, turns: Array, group: Integers, *, sign: float = 1.0, out: Array | None = None) -> Blocks:
    """Blocks at turns given as floats (B, axes)."""
    numerators = np.rint(turns * RESOLUTION).astype(np.int64)
    return symbol.blocks(numerators, np.full(turns.shape[1], RESOLUTION), group, sign=sign, out=out)


def _coarse(symbol: Symbol) -> tuple[Array, Integers, Array]:
    """Turns (B, axes) of a grid that resolves the symbol, half of it, for each group; and the grid's spacing."""
    entries = max(symbol.order**2, 4 * symbol.order * len(symbol.lags))
    most = min(COARSE_ITEMS, max(64, COARSE_ENTRIES // entries))
    sizes = [2 * d + EXTRA if d else 1 for d in symbol.degree]
    while math.prod(sizes) * symbol.groups > 2 * most and max(sizes) > 3:
        sizes[int(np.argmax(sizes))] = max(3, int(0.8 * max(sizes)))
    half = [*sizes[:-1], sizes[-1] // 2 + 1]
    turns = np.stack(np.unravel_index(np.arange(math.prod(half)), half), axis=1) / np.array(sizes)
    group = np.tile(np.arange(symbol.groups), len(turns))
    return np.repeat(turns, symbol.groups, axis=0), group, 1 / np.array(sizes)


def _ascend(symbol: Symbol, turns: Array, spacing: Array) -> tuple[Array, Array]:
    """Climbs from all turns of :func:`_coarse` at once, a vector and a frequency in turns: values (B) and new turns.

    A step is one of Chebyshev's iteration, which all of the spectrum but its upper end damps, on every lag apart: so
    no block is formed, and the quadratic form of each vector is known at all frequencies, to go uphill by its slope.
    """
    groups, n, lags = symbol.groups, symbol.order, symbol.lags
    parts = symbol.parts.reshape(groups, 2, len(lags), n * n, 2)
    apart = np.stack([parts[:, 0, ..., 0], parts[:, 1, ..., 1]], axis=1).astype(np.float32).reshape(groups, -1, n)
    start, shift = turns, np.zeros_like(turns)
    steepest = np.pi * np.maximum(symbol.degree, 1) ** 2  # curvature of a form between 0 and 1, at most
    here = np.random.default_rng(0).standard_normal((groups, n, 2, len(turns) // groups), dtype=np.float32)
    before = np.zeros_like(here)  # real and imaginary parts of (groups, n, T)
    here /= np.linalg.norm(here, axis=(1, 2), keepdims=True)
    for step in range(ASCENT):
        images = (apart @ here.reshape(groups, n, -1)).reshape(groups, 2, len(lags), *here.shape[1:])
        angles = 2 * np.pi * (start + shift) @ lags.T  # (B, D)
        waves = (wave.astype(np.float32).reshape(-1, groups, len(lags)) for wave in (np.cos(angles), np.sin(angles)))
        cos, sin = (wave.transpose(1, 2, 0) for wave in waves)
        quarter = np.stack([here[:, :, 1], -here[:, :, 0]], axis=2)
        even = np.einsum("gnct,gdnct->gdt", here, images[:, 0])
        odd = np.einsum("gnct,gdnct->gdt", quarter, images[:, 1])
        values = (cos * even - sin * odd).sum(axis=1)  # (groups, T)
        values = np.maximum(values, TINY * max(1.0, values.max()))
        slopes = np.einsum("gdt,da->tga", -sin * even - cos * odd, lags).reshape(turns.shape)
        product = np.einsum("gdt,gdnct->gnct", cos, images[:, 0])
        turned = np.einsum("gdt,gdnct->gnct", sin, images[:, 1])
        product += np.stack([turned[:, :, 1], -turned[:, :, 0]], axis=2)
        middle = 0.45 * values[:, np.newaxis, np.newaxis]
        after = (product / middle - here) * (2 if step else 1) - before
        size = np.maximum(np.linalg.norm(after, axis=(1, 2), keepdims=True), TINY)
        before, here = here / size, after / size
        if step + 1 < ASCENT:
            shift = np.clip(shift + slopes / values.T.reshape(-1, 1) / steepest, -spacing, spacing)
    return values.T.reshape(-1).astype(np.float64), (start + shift) % 1


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
