"""Linear pieces on a torus: blocks, one a frequency, of a circular operator that holds a piece.

The ``error`` beside blocks bounds the spectral norm of what the numbers of one miss. A stride leaves a coarser torus
behind it, each of whose frequencies reads several of the finer one. Formulas: docs/numerics.md 3.6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radii.graph import Node
from radii.graph.rules import Convolution, Dense, Rule
from radii.lipschitz.blocks import Blocks
from radii.lipschitz.network.aliases import Aliases
from radii.lipschitz.network.explicit import MOST_ENTRIES, explicit
from radii.lipschitz.network.linear import Array, NotApplicable, Piece, per_channel, run
from radii.lipschitz.rounding import UNIT, as_float64, gamma, product_up, sum_up, up

MOST_BLOCK_BYTES = 2**26  # of all blocks of one layer
PHASE = 64 * UNIT  # of a computed e^{2 pi i t}


@dataclass(frozen=True, slots=True)
class Torus:
    """A torus of ``size`` pixels per axis, and the half of its frequencies that real operators need."""

    size: tuple[int, ...]

    @property
    def count(self) -> int:
        return math.prod(self.size[:-1]) * (self.size[-1] // 2 + 1)

    def coarser(self, strides: tuple[int, ...]) -> tuple[Torus, Aliases]:
        """What a stride leaves of it, along every axis, and the aliases of its frequencies."""
        coarse = Torus(tuple(n // s for n, s in zip(self.size, strides, strict=True)))
        stored = (*coarse.size[:-1], coarse.size[-1] // 2 + 1)
        first = np.indices(stored).reshape(len(stored), -1, 1)
        steps = np.indices(strides).reshape(len(strides), 1, -1)
        sizes = np.array(self.size).reshape(-1, 1, 1)
        aliases = first + steps * np.array(coarse.size).reshape(-1, 1, 1)
        mirrored = aliases[-1] > self.size[-1] // 2
        there = np.where(mirrored, -aliases % sizes, aliases)
        return coarse, Aliases(np.ravel_multi_index(there, (*self.size[:-1], self.size[-1] // 2 + 1)), mirrored)

    def phases(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.complex128]:
        """(P, count): ``e^{2 pi i <f, p>/N}`` for integer positions (P, axes); each errs by at most `PHASE`."""
        grids = [np.arange(n) for n in self.size[:-1]] + [np.arange(self.size[-1] // 2 + 1)]
        turns = np.zeros((len(positions), *(len(grid) for grid in grids)))
        for a, (grid, n) in enumerate(zip(grids, self.size, strict=True)):
            along = (positions[:, a, np.newaxis] * grid) % n / n
            turns += along.reshape(len(positions), *(-1 if b == a else 1 for b in range(len(grids))))
        result: npt.NDArray[np.complex128] = np.exp(2j * np.pi * turns.reshape(len(positions), -1))
        return result

    def weights(self) -> Array:
        """(count,): how many of all frequencies each stands for."""
        last = np.full(self.size[-1] // 2 + 1, 2.0)
        last[0] = 1
        if self.size[-1] % 2 == 0:
            last[-1] = 1
        return np.tile(last, math.prod(self.size[:-1]))


@dataclass(frozen=True, slots=True)
class Move:
    """What a node asks of the torus that it reads, by axis.

    Attributes:
        least: pixels, at least, on which nothing wraps onto a pixel.
        spills: whether it makes something of the image where there is no pixel of its own.
    """

    least: tuple[int, ...]
    strides: tuple[int, ...]
    spills: bool


def moves(piece: Piece) -> list[Move]:
    """What the nodes of a piece ask of their tori.

    Only the last may spill, since what the edge cuts off in between is no part of a torus. Raises `NotApplicable`.
    """
    if not piece.input_shape[1:]:
        raise NotApplicable("it has no pixels")
    found = []
    for node, rule in zip(piece.nodes, piece.rules, strict=True):
        own = convolution(piece, node, rule)
        if own is not None:
            found.append(_move(own, piece.graph.shapes[node.output][1:]))
        elif per_channel(piece.graph, node) is None:
            raise NotApplicable(f"{node.operator.name} is no convolution")
    if any(move.spills for move in found[:-1]):
        raise NotApplicable("two convolutions follow each other without an activation between them")
    return found


def _move(rule: Convolution, made: tuple[int, ...]) -> Move:
    least, spills = [], False
    axes = zip(rule.input_size, made, rule.weight.shape[2:], rule.dilation, rule.stride, rule.padding, strict=True)
    for n, o, k, d, s, (low, _) in axes:
        if rule.transposed and s != 1:
            raise NotApplicable("a transposed convolution has a stride")
        reads, makes = (o, n) if rule.transposed else (n, o)
        least.append(max(reads + low, (makes - 1) * s + 1 + d * (k - 1) - low, n, o * s))
        spills |= low != 0 or d * (k - 1) >= s or o * s < n
    return Move(tuple(least), rule.stride, spills)


def convolution(piece: Piece, node: Node, rule: Rule) -> Convolution | None:
    """The convolution that a node is; None: it is none."""
    return rule if isinstance(rule, Convolution) else node.operator.convolution(*piece.graph.input_shapes(node))


def first_torus(pieces: Sequence[Piece]) -> Torus:
    """The smallest torus in front of them on which all hold, strides dividing it. Raises `NotApplicable`."""
    size = pieces[-1].output_shape[1:]
    for move in [move for piece in pieces for move in moves(piece)][::-1]:
        size = tuple(
            s * max(coarse, -(-least // s)) for coarse, least, s in zip(size, move.least, move.strides, strict=True)
        )
    return Torus(tuple(map(max, size, pieces[0].input_shape[1:])))


@dataclass(frozen=True, slots=True)
class OnTorus:
    """A piece as blocks of a circular operator.

    Attributes:
        blocks: (frequencies, out, in) complex128, of the torus behind it.
        error: spectral norm of what a block may miss.
        aliases: those that each block reads, ``in`` being their number times the channels; None: each reads its own.
        torus: the one behind it.
    """

    blocks: Blocks
    error: float
    aliases: Aliases | None
    torus: Torus


def fourier_blocks(piece: Piece, torus: Torus) -> OnTorus:
    """The circular operator that holds a piece, given the torus in front of it. Raises `NotApplicable`."""
    channels = [piece.input_shape[0], *(piece.graph.shapes[node.output][0] for node in piece.nodes)]
    if torus.count * max(channels) ** 2 * 16 > MOST_BLOCK_BYTES:
        raise NotApplicable("its Fourier blocks take too much memory")
    blocks: Blocks | None = None
    largest, error = 1.0, 0.0
    aliases: Aliases | None = None
    for node, rule in zip(piece.nodes, piece.rules, strict=True):
        here: Aliases | None = None
        if (layer := convolution(piece, node, rule)) is not None:
            own, norm, lost = _symbol(layer, torus)
            lost = up(lost + 16 * UNIT * norm)  # weights may have been rounded a few times
            if any(s != 1 for s in layer.stride):
                torus, here = torus.coarser(layer.stride)
                # all aliases side by side, over the root of their number: the norms and the errors are the same
                own = here.beside(here.of(own)) / math.sqrt(here.count)
                lost = up(lost + 4 * UNIT * norm)
        else:
            factor = per_channel(piece.graph, node)
            assert factor is not None
            own, norm = np.diag(factor + 0j)[None], up(float(np.abs(factor).max()))
            lost = up(norm * 4 * UNIT)
        if blocks is None:
            blocks, largest, error, aliases = own, norm, lost, here
            continue
        # every norm here bounds the Frobenius norm of a block's moduli, hence its own
        wide = up(norm * up(math.sqrt(own.shape[2])))
        arithmetic = up(2 * gamma(2 * own.shape[2] + 8) * wide * up(largest * up(math.sqrt(blocks.shape[2]))))
        error = sum_up((product_up((norm, error)), product_up((lost, sum_up((largest, error)))), arithmetic))
        blocks, largest = own @ blocks if here is None else here.times(own, blocks), product_up((norm, largest))
        aliases = aliases if here is None else here.behind(aliases)
    if blocks is None:
        blocks = np.eye(channels[0], dtype=complex)[None]
    return OnTorus(np.broadcast_to(blocks, (torus.count, *blocks.shape[1:])), error, aliases, torus)


def _symbol(rule: Convolution, torus: Torus) -> tuple[Blocks, float, float]:
    """Blocks of a convolution without its stride; a bound on their Frobenius norms, so far as computed; their error."""
    kernel = as_float64(rule.weight)
    groups, taps = rule.groups, kernel.shape[2:]
    positions = np.array(list(np.ndindex(*taps)), dtype=np.int64).reshape(-1, len(taps))
    positions = positions * np.array(rule.dilation) - np.array([low for low, _ in rule.padding])
    if rule.transposed:
        kernel = kernel.reshape(groups, -1, *kernel.shape[1:]).swapaxes(1, 2)  # (groups, out, in, *taps)
        positions = -positions
    else:
        kernel = kernel.reshape(groups, -1, *kernel.shape[1:])
    out, inner = kernel.shape[1:3]
    phases = torus.phases(positions)  # (T, F)
    flat = np.ascontiguousarray(kernel).reshape(groups * out * inner, -1)
    made = (flat @ phases.real + 1j * (flat @ phases.imag)).T.reshape(-1, groups, out, inner)
    blocks = np.zeros((torus.count, groups, out, groups, inner), dtype=complex)
    for g in range(groups):
        blocks[:, g, :, g] = made[:, g]
    moduli = up(float(np.linalg.norm(np.abs(flat).sum(1))) * (1 + gamma(kernel.size + 16)))
    lost = up(up(moduli * (2 * gamma(2 * phases.shape[0] + 8) + PHASE * 2)))
    return blocks.reshape(torus.count, groups * out, groups * inner), moduli, lost


def gathering(piece: Piece, torus: Torus) -> tuple[Blocks, float]:
    """(frequencies, out, channels) of a piece that reads all pixels at once: a dense layer behind a flatten or a mean.

    With ``x^`` the unitary Fourier coefficients of its input, the piece is the real part of ``sum_f w_f H^(f) x^(f)``
    over half of the frequencies; the factors ``sqrt(w_f)`` are in the blocks.
    """
    shape = piece.input_shape
    start = 0
    while start < len(piece.nodes) and piece.nodes[start].operator.keeps_order:
        start += 1
    error = 0.0
    if start < len(piece.nodes) and isinstance(rule := piece.rules[start], Dense):
        weight = as_float64(rule.weight)
        if weight.shape[1] != math.prod(shape):
            raise NotApplicable("its dense layer does not read all pixels")
        head, rest = weight.reshape(-1, *shape), piece.part(start + 1)
    elif start < len(piece.nodes) and _is_mean(piece, start):
        pixels = math.prod(shape[1:])
        head = np.broadcast_to(
            np.eye(shape[0]).reshape(shape[0], shape[0], *[1] * (len(shape) - 1)) / pixels, (shape[0], *shape)
        )
        error, rest = up(UNIT * math.sqrt(shape[0])), piece.part(start + 1)
    else:
        made, error = explicit(piece)
        head, rest = made.reshape(-1, *shape), piece.part(len(piece.nodes))
    if rest.nodes:
        matrix, lost = explicit(rest)
        size = up(float(np.linalg.norm(head)) * (1 + gamma(head.size + 16)))
        width = up(float(np.linalg.norm(matrix)) * (1 + gamma(matrix.size + 16)))
        error = up(up(width * error + lost * (size + error) + gamma(matrix.shape[1] + 8) * width * size))
        head = np.tensordot(matrix, head, axes=1)
    if len(head) * head[0].size > 4 * MOST_ENTRIES or torus.count * len(head) * shape[0] * 16 > MOST_BLOCK_BYTES:
        raise NotApplicable("its dense layer is too large")
    size = up(float(np.linalg.norm(head)) * (1 + gamma(head.size + 16)))
    blocks: Blocks = np.ascontiguousarray(head)
    count = math.prod(torus.size)
    for axis in range(len(torus.size)):  # the transform, one axis at a time: a matrix product, whose error is known
        n = torus.size[axis]
        kept = n // 2 + 1 if axis == len(torus.size) - 1 else n
        turns = np.outer(np.arange(shape[1 + axis]), np.arange(kept)) % n / n
        matrix_f = np.exp(2j * np.pi * turns) / math.sqrt(n)
        blocks = np.tensordot(blocks.astype(complex), matrix_f, axes=([2], [0]))
    blocks = blocks.reshape(len(head), shape[0], -1).transpose(2, 0, 1)
    roots = np.sqrt(torus.weights())
    # each axis loses this of the Frobenius norm: its moduli add up to at most sqrt(pixels) times it
    pixels = max(shape[1:])
    axis_loss = (2 * gamma(2 * pixels + 16) + PHASE * 2) * math.sqrt(pixels) * 2
    error = up(up(error + len(torus.size) * 2 * axis_loss * size * math.sqrt(2)))
    if error > 1e-6 * size:
        raise NotApplicable("rounding is too large")
    return blocks * roots[:, None, None], error if count else 0.0


def _is_mean(piece: Piece, at: int) -> bool:
    node = piece.nodes[at]
    shape = piece.graph.shapes[node.inputs[0]]
    if shape != piece.input_shape or len(shape) < 2:
        return False
    made = math.prod(piece.graph.shapes[node.output])
    return made == shape[0] and node.operator.averages and _spatial(node, shape)


def _spatial(node: Node, shape: tuple[int, ...]) -> bool:
    """Whether it takes the mean of every channel: seen on a probe that tells channels and pixels apart."""
    probe = np.zeros((2, *shape))
    probe[0] = np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    probe[1] = np.random.default_rng(0).standard_normal(shape)
    want = probe.reshape(2, shape[0], -1).mean(2)
    return bool(np.allclose(run(node, probe).reshape(2, -1), want, rtol=1e-12, atol=1e-12))
