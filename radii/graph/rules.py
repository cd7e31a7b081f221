"""What an operator says of its l2 Lipschitz constant, as data.

An operator states the mathematics (a number, a matrix, a convolution, a sum); `radii.lipschitz` turns it
into a bound. `radii.graph` never imports `radii.lipschitz`. All constants hold per sample: no operator mixes
the batch.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Slope:
    """One input; the l2 Lipschitz constant is at most ``upper`` (already rounded up).

    ``loss`` is what each entry may be off: by small jumps, and by more rounding in float64 than its size explains.
    ``interval``: every entry of the output is a continuous function of the same entry of the input alone, whose slopes
    lie in it; None: not so, or not known.
    """

    upper: float
    loss: float = 0.0
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """One input; ``y = W x + b`` on the last axis, the same ``W`` at every other position."""

    weight: np.ndarray  # (out, in), float32 or float64


@dataclass(frozen=True, slots=True, eq=False)
class Matrices:
    """One input; entries in some order are cut into vectors, each of which is multiplied by one of these matrices."""

    weight: np.ndarray  # (matrices, out, in), float32 or float64


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """One input of shape (channels, *input_size); zero padding.

    ``weight`` is in torch's layout: (out, in/groups, *kernel), or (in, out/groups, *kernel) when transposed.
    """

    weight: np.ndarray
    input_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]  # (before, after) per axis; of a transposed one, what is cropped
    dilation: tuple[int, ...]
    groups: int = 1
    transposed: bool = False
    output_padding: tuple[int, ...] = ()  # empty: none


@dataclass(frozen=True, slots=True)
class Sum:
    """``y = sum_i c_i x_i + constant``: constants add up as ``sum |c_i| L_i``.

    Where ``x_i`` is broadcast, ``c_i`` holds the square root of its number of copies, rounded up, and is a
    bound, no longer the coefficient itself: ``exact`` tells the two apart.
    """

    coefficients: tuple[float, ...]
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Concat:
    """Several inputs side by side: the square root of the sum of the squares."""


@dataclass(frozen=True, slots=True)
class Unbounded:
    """No useful global constant: the Lipschitz method does not apply, smoothing does.

    ``speaks_for_all``: one of many nodes that stand against it for the same reason is enough to name.
    """

    reason: str
    remedy: str
    speaks_for_all: bool = False


Rule = Slope | Dense | Matrices | Convolution | Sum | Concat | Unbounded
