"""Small upper bounds, rounding included, that the Lipschitz rules are made of. Formulas: docs/numerics.md 2.8."""

import math

import numpy as np

from radii.graph.errors import Refusal
from radii.graph.rules import Slope, Unbounded

MAX_TAPS = 2**20  # entries of one axis' window table


def up(value: float) -> float:
    """``value`` pushed above the real number it approximates: room for 30 roundings of relative 2^-53."""
    return math.nextafter(value * (1 + 2.0**-48), math.inf) if value else 0.0


def sqrt_up(value: int) -> float:
    """The square root of a natural number, exact or rounded up."""
    root = math.isqrt(value)
    return float(root) if root * root == value else math.nextafter(math.sqrt(value), math.inf)


def slope(upper: float, *, interval: tuple[float, float] | None = None) -> Slope | Unbounded:
    """A `Slope`, unless the bound overflowed."""
    if math.isfinite(upper):
        return Slope(upper, interval=interval)
    return Unbounded("its Lipschitz constant overflows", "Use smoothing")


def diagonal(factor: np.ndarray, shape: tuple[int, ...]) -> float:
    """Upper bound on the norm of ``x -> factor * x`` for x of ``shape``, broadcasting included.

    Each entry of x is copied along the axes where it is broadcast; its column's norm is that of its factors.
    """
    output = np.broadcast_shapes(factor.shape, shape)
    largest = float(np.max(np.abs(factor), initial=0.0))
    copied = tuple(i for i, (size, made) in enumerate(zip(shape, output, strict=True)) if size != made)
    if not copied or not largest:
        return largest
    scaled = np.broadcast_to(np.asarray(factor, np.float64) / largest, output)
    copies = math.prod(output[i] for i in copied)
    squares = float(np.max(np.sum(scaled * scaled, axis=copied)))
    return up(math.sqrt(squares * (1 + copies * 2.0**-52)) * largest)


def multiplicity(index: np.ndarray, size: int) -> int:
    """How often the most used of ``size`` entries occurs in ``index``."""
    if index.size < size:  # an axis may be much longer than what is read of it
        return int(np.unique(index, return_counts=True)[1].max(initial=0))
    return int(np.bincount(index.reshape(-1)).max(initial=0))


def output_size(size: int, kernel: int, stride: int, low: int, high: int, ceil: bool = False) -> int:
    """How many windows of (dilated) length ``kernel`` fit; in ceil mode none starts in the padding behind."""
    space = size + low + high - kernel
    if not ceil:
        return space // stride + 1
    count = -(-space // stride) + 1
    return count - 1 if (count - 1) * stride >= size + low else count


def window_taps(count: int, kernel: int, stride: int, dilation: int, low: int) -> np.ndarray:
    """Positions (count, kernel) that each window of one axis looks at; outside [0, size) lies padding."""
    if count * kernel > MAX_TAPS:
        raise Refusal("its windows are too many and too long", "Use a smaller kernel or a smaller input")
    return np.arange(count)[:, None] * stride - low + np.arange(kernel) * dilation


def averaging_norm(taps: np.ndarray, divisors: np.ndarray, size: int) -> float:
    """Upper bound on the l2 norm of the averages along one axis, ``y_i = sum_j x[taps[i, j]] / divisors[i]``."""
    inside = (taps >= 0) & (taps < size)
    return weighting_norm(np.where(inside, taps, 0), inside / divisors[:, None], size)


def weighting_norm(taps: np.ndarray, weight: np.ndarray, size: int) -> float:
    """Upper bound on the l2 norm of ``y_i = sum_j weight[i, j] x[taps[i, j]]``, no weight negative.

    The matrix A is nonnegative, so for every positive v, ``||A||^2 <= max_i (A^T A v)_i / v_i``
    (Collatz-Wielandt); power iteration makes v better, and every iterate is a bound.
    """
    if taps.size < size:  # an axis may be much longer than what is read of it
        used, taps = np.unique(taps, return_inverse=True)
        taps, size = taps.reshape(weight.shape), len(used)

    def gram(v: np.ndarray) -> np.ndarray:
        y = (weight * v[taps]).sum(axis=1)
        return np.bincount(taps.reshape(-1), (weight * y[:, None]).reshape(-1), minlength=size)

    v, best = np.ones(size), math.inf
    for _ in range(max(20, min(1000, 2**24 // max(1, taps.size)))):  # a second, at most
        image = gram(v)
        ratio = image / v
        best = min(best, float(np.max(ratio)))
        if not best:
            return 0.0
        if best <= np.min(ratio, where=image > 0, initial=best) * (1 + 1e-9):
            break  # the least of them is a lower bound
        v = np.maximum(image / image.max(), 1e-9)
    addends = taps.shape[1] + multiplicity(taps, size)  # of a row of A, and of a row of its transpose
    rounding = 1 + 2.0**-52 * (2 * addends + 16)
    return up(math.sqrt(best * rounding))
