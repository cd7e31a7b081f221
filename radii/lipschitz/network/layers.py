"""A chain in the form that bounds of several layers at once work on: blocks, each with its error.
Formulas: docs/numerics.md 3.6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from radii.lipschitz.blocks import Blocks, is_complex
from radii.lipschitz.network.aliases import Aliases
from radii.lipschitz.network.chain import Chain, Interval
from radii.lipschitz.network.effort import UNIT_OF_WORK, Effort
from radii.lipschitz.network.explicit import explicit
from radii.lipschitz.network.fourier import first_torus, fourier_blocks, gathering, moves
from radii.lipschitz.network.linear import NotApplicable, Piece
from radii.lipschitz.network.narrow import narrowed
from radii.lipschitz.rounding import gamma, up

MOST_WORK = 2**32  # multiply-adds of one product of all blocks of a layer: some tenths of a second
SHARE = 256  # one part in so many of a budget: for such a product, where there is one
MOST_ORDER = 2**12  # of a matrix between two activations: a few of them at once take a gigabyte
SMALL = 640  # matrices up to this order are preferred to blocks on a torus, which is a little loose
LONGEST = 64
NARROW = 0.01  # relative width of an interval of slopes, at least


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A linear map as blocks (B, m, n), real or complex, and the slopes of the activation behind it.

    Attributes:
        error: spectral norm of what a block may miss.
        exponent: the blocks are to be taken times ``2**exponent``.
        slopes: (a, b); None: no activation.
        gathers: its blocks each read one frequency, and the real parts of what they make add up.
        aliases: those that each block reads of the torus behind the layer before, ``n`` being their number times the
            channels; None: each reads its own frequency, or there is no layer before.
    """

    blocks: Blocks
    error: float
    exponent: int
    slopes: Interval | None
    gathers: bool = False
    aliases: Aliases | None = None

    def behind(self, blocks: Blocks) -> Blocks:
        """(B, m, q): its own times those of the layer before, (., n, q)."""
        made: Blocks = self.blocks @ blocks if self.aliases is None else self.aliases.times(self.blocks, blocks)
        return made


def layers_of(chain: Chain, effort: Effort | None = None) -> list[list[Layer]]:
    """The chain in as few parts as can be written in blocks of one kind; the bound of the chain is their product.

    Args:
        effort: says how large a matrix may be. With it the first one of a part is replaced by a square one that moves
            its outputs no less, if it has more inputs than outputs: a bound of what is then the chain is one of the
            chain.

    Raises `NotApplicable`.
    """
    if len(chain.pieces) > LONGEST:
        raise NotApplicable("it has too many layers")
    slopes: list[Interval | None] = [*chain.slopes, *[None] * (len(chain.pieces) - len(chain.slopes))]
    parts: list[list[Layer]] = []
    start, reason = 0, NotApplicable("it has no layers")
    while start < len(chain.pieces):
        for stop in range(len(chain.pieces), start, -1):
            try:
                parts.append(_together(chain.pieces[start:stop], slopes[start:stop], effort))
                break
            except NotApplicable as problem:
                reason = problem
        else:
            raise reason
        start = stop
    return parts


def _together(pieces: Sequence[Piece], slopes: Sequence[Interval | None], effort: Effort | None) -> list[Layer]:
    sizes = [math.prod(shape) for shape in (pieces[0].input_shape, *(piece.output_shape for piece in pieces))]
    apart = ""
    if max(sizes) > SMALL:
        try:
            return _on_torus(pieces, slopes)
        except NotApplicable as problem:
            if len(pieces[0].input_shape) > 1:  # else nobody would look for pixels
                apart = f"{problem}, and "
    order = max(sizes)
    if effort is not None:  # of what is inverted: an end that nothing follows is as wide as the other side of its layer
        last = sizes[-1] if slopes[-1] is not None else min(sizes[-2:])
        order = max(min(sizes[:2]), *sizes[1:-1], last)
    if order > MOST_ORDER:
        raise NotApplicable(f"{apart}matrices of order {order:,} are too large")
    if order**3 > (MOST_WORK if effort is None else effort.share(SHARE)):
        needed = (
            "" if effort is None else f": a budget of {-(-(order**3) * SHARE // UNIT_OF_WORK):,} or more takes them"
        )
        raise NotApplicable(f"{apart}matrices of order {order:,} take too long{needed}")
    try:
        first = _explicit(pieces[0], slopes[0], narrow=effort is not None)
        return [first, *(_explicit(piece, slope) for piece, slope in zip(pieces[1:], slopes[1:], strict=True))]
    except NotApplicable as problem:
        raise NotApplicable(f"{apart}{problem}") from None


def _explicit(piece: Piece, slopes: Interval | None, *, narrow: bool = False) -> Layer:
    matrix, error = explicit(piece)
    if narrow and matrix.shape[1] > matrix.shape[0]:
        matrix, error = narrowed(matrix, error), 0.0
    return _layer(matrix[None], error, slopes)


def _on_torus(pieces: Sequence[Piece], slopes: Sequence[Interval | None]) -> list[Layer]:
    """Convolutions, then perhaps a layer that gathers all pixels and dense layers behind it.

    What lies outside an image is zero in the network and anything on the torus. An activation whose slope is 0 there
    makes it zero again: so its slopes are those of the function, and 0.
    """
    fitting = 0
    while fitting < len(pieces):
        try:
            moves(pieces[fitting])
        except NotApplicable:
            break
        fitting += 1
    torus = first_torus(pieces[: max(1, fitting)])
    layers: list[Layer] = []
    for piece, slope in zip(pieces[:fitting], slopes[:fitting], strict=True):
        here = fourier_blocks(piece, torus)
        torus, (count, m, n) = here.torus, here.blocks.shape
        if count * max(m, n // (here.aliases.count if here.aliases else 1)) ** 2 * max(m, n) * 4 > MOST_WORK:
            raise NotApplicable("its Fourier blocks are too large")
        masked = None if slope is None else (min(slope[0], 0.0), max(slope[1], 0.0))
        layers.append(_layer(here.blocks, here.error, masked, aliases=here.aliases if layers else None))
    if fitting < len(pieces):
        layers.append(_layer(*gathering(pieces[fitting], torus), slopes[fitting], gathers=True))
    for piece, slope in zip(pieces[fitting + 1 :], slopes[fitting + 1 :], strict=True):
        layers.append(_explicit(piece, slope))
    return layers


def _layer(
    blocks: Blocks,
    error: float,
    slopes: Interval | None,
    *,
    gathers: bool = False,
    aliases: Aliases | None = None,
) -> Layer:
    entries = _entries(blocks)
    exponent = math.frexp(float(np.abs(entries).max()) if entries.size else 0.0)[1]
    factor = math.ldexp(1.0, -exponent) if abs(exponent) < 900 else 0.0
    if not factor:
        raise NotApplicable("its weights are near the end of the range of float64")
    if slopes is not None:
        largest = max(map(abs, slopes))
        if not 0 < largest < math.inf:
            raise NotApplicable("an activation is constant, or infinitely steep")
        if slopes[1] - slopes[0] < NARROW * largest:  # all but linear, which the multipliers don't like
            slopes = slopes[0] - NARROW * largest, slopes[1] + NARROW * largest
    return Layer(blocks * factor, error * factor, exponent, slopes, gathers, aliases)


def frobenius(blocks: Blocks) -> float:
    """The largest Frobenius norm of blocks (B, m, n), rounded up."""
    sizes = np.linalg.norm(_entries(blocks).reshape(len(blocks), -1), axis=1)
    return up(float(sizes.max()) * (1 + gamma(2 * blocks[0].size + 16)))


def _entries(blocks: Blocks) -> Blocks:
    """Real and imaginary parts apart."""
    return np.ascontiguousarray(blocks).view(np.float64) if is_complex(blocks) else blocks
