"""Multipliers for the matrix inequalities of :mod:`radii.lipschitz.network.eclipse`: all of this only proposes.
Formulas: docs/numerics.md 3.5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radii.lipschitz.blocks import Array, Blocks, adjoint, diagonal_of, is_complex, solved
from radii.lipschitz.network.aliases import Aliases
from radii.lipschitz.network.layers import Layer

STEPS, LEAST_STEPS = 30, 3
PATIENCE = 5
GAIN = 0.002  # in log L^2: a tenth of a percent of L
LARGE = 256  # order from which a proposal's eigenvalue comes from power iteration
POWER_STEPS = 40
SQUARINGS = 6
RESTS = (1.0, 0.3)  # of chains of random layers the best lay between 0.2 and 0.4, of orthogonal ones at 1

Multiplier = npt.NDArray[np.float64]
Parameter = tuple[Multiplier, float]
Objective = Callable[[Blocks], tuple[float, Blocks]]
"""A number for the final blocks, and its slope ``G``: it moves by ``Re tr(G^H d)``, summed over the blocks."""


def norm_of(final: Blocks) -> tuple[float, Blocks]:
    """The logarithm of ``L^2``, or a little more."""
    top, slope = _smooth(final)
    return float(np.log(top)), slope / top


def mean_pair(final: Blocks) -> tuple[float, Blocks]:
    """The mean logarithm of ``L_ij^2`` over the pairs."""
    gram = final[0].real
    diagonal = gram.diagonal()
    squares = diagonal[:, None] + diagonal - 2 * gram
    least = 1e-12 * float(diagonal.max())
    pairs = len(gram) * (len(gram) - 1)  # in both orders
    apart = ~np.eye(len(gram), dtype=bool)
    weight = np.where(apart & (squares > least), 1 / np.maximum(squares, least), 0.0) / pairs
    slope = 2 * (np.diag(weight.sum(axis=1)) - weight)
    return float(np.log(np.maximum(squares, least))[apart].sum() / pairs), slope[None].astype(final.dtype)


def fast(layers: Sequence[Layer], rest: float = 1.0) -> tuple[float, list[Multiplier]]:
    """The logarithm of the ``L^2`` that multipliers promise, and those of ECLipsE-Fast.

    Args:
        rest: where it takes a share s of the largest multipliers, ``s/(s + rest (1 - s))`` is taken.
    """
    gram, exponent, steps = _walked(layers, _parameters(layers, rest), smooth=False)
    if len(steps) < len(layers):
        final = _sandwich(layers[-1], gram).made
    else:
        assert gram is not None
        final = np.linalg.inv(gram)
    top = _largest(final)
    return math.log(top) + exponent * math.log(4) if top > 0 else math.inf, [step.multiplier for step in steps]


def _parameters(layers: Sequence[Layer], rest: float) -> list[Parameter]:
    """Logarithms of the multipliers up to a factor, and the factor as a share of `_most`, as a logit."""
    return [
        (np.zeros(layer.blocks.shape[1]), _start(layer) - math.log(rest))
        for layer in layers
        if layer.slopes is not None
    ]


def descended(
    layers: Sequence[Layer], objective: Objective, steps: int, start: Sequence[Multiplier], rest: float
) -> list[Multiplier]:
    """Multipliers from gradient descent (Adam) on the logarithms of all of them, from ``start`` on: those of `fast`.

    It ends early where `PATIENCE` steps gained less than `GAIN`.
    """
    flat = [np.array(part, dtype=np.float64) for parameter in _parameters(layers, rest) for part in parameter]
    means, squares = [np.zeros_like(part) for part in flat], [np.zeros_like(part) for part in flat]
    best, values = list(start), [math.inf]
    for step in range(1, steps + 1):
        final = _recursion(layers, [(s, float(o)) for s, o in zip(flat[::2], flat[1::2], strict=True)])
        value, slope = objective(final.blocks)
        here = value + final.exponent * math.log(4)
        if not math.isfinite(here):
            break
        if here < values[-1]:
            best = [taken.multiplier for taken in final.steps]
        values.append(min(here, values[-1]))
        if step > PATIENCE and values[-1] > values[-1 - PATIENCE] - GAIN:
            break
        rate = 0.1 * (1 - (step - 1) / steps) + 0.005
        slopes = [part for parameter in final.slopes(slope) for part in parameter]
        for i, found in enumerate(slopes):
            means[i] = means[i] + 0.1 * (found - means[i])
            squares[i] = squares[i] + 0.001 * (np.square(found) - squares[i])
            unit = (means[i] / (1 - 0.9**step)) / (np.sqrt(squares[i] / (1 - 0.999**step)) + 1e-6)  # more than rounding
            flat[i] = flat[i] - rate * unit
    return best


def affordable_steps(layers: Sequence[Layer], most: int) -> int:
    """How many steps of descent ``most`` multiply-adds are enough for."""
    return min(STEPS, most // sum(_work(layer, first=i == 0) for i, layer in enumerate(layers)))


def _work(layer: Layer, *, first: bool) -> int:
    """Operations that one step spends on a layer, about."""
    count, m, n = layer.blocks.shape
    before = n if layer.aliases is None else n // layer.aliases.count  # the order of what is factorised
    products = m * m * (m + n) + (0 if first else n * before * (m + before))
    return int(8 * count * products * (4 if is_complex(layer.blocks) else 1))


def _most(layer: Layer) -> float:
    """The number below which ``lmax(T^(1/2) W X^{-1} W^H T^(1/2))`` must lie."""
    assert layer.slopes is not None
    a, b = layer.slopes
    return 4 / (b - a) ** 2


def _start(layer: Layer) -> float:
    """ECLipsE-Fast's share of it, as a logit."""
    assert layer.slopes is not None
    a, b = layer.slopes
    share = (b - a) / (2 * max(abs(a), abs(b)))
    return math.log(share / (1 - share))


@dataclass(frozen=True, slots=True)
class Sandwich:
    """``W X^{-1} W^H``; of a layer that gathers, the sum of the real parts of all.

    Attributes:
        factor: lower, ``X = L L^H``; None: the unit matrix.
        half: ``L^{-1} W^H``.
        aliases: of the blocks of X that a block of W reads; None: each reads one.
    """

    factor: Blocks | None
    half: Blocks
    made: Blocks
    aliases: Aliases | None = None

    def slope(self, given: Blocks) -> Blocks:
        """The slope with respect to X, from that with respect to ``made``."""
        if self.factor is None:  # the unit matrix does not move
            return np.zeros((1, 1, 1))
        if self.aliases is None:
            inner = solved(self.factor, self.half, adjointly=True)
            return -(inner @ given @ adjoint(inner))
        inner = _solved(self.aliases, self.factor, self.half, adjointly=True)
        return self.aliases.returned(-(inner @ given[:, None] @ adjoint(inner)), len(self.factor))


@dataclass(frozen=True, slots=True)
class Step:
    """What the recursion made of a layer that an activation follows, ``gram`` aside."""

    layer: Layer
    before: Sandwich  # N, with the X before it
    made: Blocks  # ``M = (N^{-1} + ab T)^{-1}``
    passed: Blocks | None  # ``M N^{-1}``; None: a or b is 0
    top: float
    steepest: Blocks  # the slope of the top with respect to ``before.made``
    shares: Multiplier  # that of its logarithm with respect to those of T
    logit: float
    multiplier: Multiplier
    scale: float  # 4**-power

    def slope(self, given: Blocks) -> tuple[Parameter, Blocks]:
        """With respect to the parameter and to X, from that with respect to the next X."""
        assert self.layer.slopes is not None
        a, b = self.layer.slopes
        given = given * self.scale
        made, t = self.made, self.multiplier
        weight = ((a + b) / 2) ** 2
        # of T in T - weight T M T, then of M
        own = (diagonal_of(given).real - 2 * weight * _diagonal_of_product(made * t, given)).sum(axis=0)
        inner = -weight * t[:, None] * given * t
        if self.passed is not None:
            own = own - a * b * _diagonal_of_product(made @ inner, made).sum(axis=0)
            inner = adjoint(self.passed) @ inner @ self.passed
        total = float(own @ t)
        share = 1 / (1 + math.exp(-self.logit))
        given = self.before.slope(inner - total / self.top * self.steepest)
        return (own * t - total * self.shares, total * (1 - share)), given


@dataclass(frozen=True, slots=True)
class Recursion:
    """The last ``W X^{-1} W^H``, to be taken times ``4**exponent``, and what led to it, without certificate."""

    blocks: Blocks
    exponent: int
    steps: list[Step]
    last: Sandwich | None  # None: the blocks are an inverse

    def slopes(self, given: Blocks) -> list[Parameter]:
        """With respect to the parameters, from that with respect to the blocks: backwards, layer by layer."""
        given = -(self.blocks @ given @ self.blocks) if self.last is None else self.last.slope(given)
        found: list[Parameter] = []
        for step in reversed(self.steps):
            parameter, given = step.slope(given)
            found.insert(0, parameter)
        return found


def _recursion(layers: Sequence[Layer], parameters: Sequence[Parameter]) -> Recursion:
    gram, exponent, steps = _walked(layers, parameters, smooth=True)
    if len(steps) < len(layers):
        last = _sandwich(layers[-1], gram)
        return Recursion(last.made, exponent, steps, last)
    assert gram is not None
    return Recursion(np.linalg.inv(gram), exponent, steps, None)


def _walked(
    layers: Sequence[Layer], parameters: Sequence[Parameter], *, smooth: bool
) -> tuple[Blocks | None, int, list[Step]]:
    """X behind the last activation, to be taken times ``4**-exponent``, and the steps up to there.

    Args:
        smooth: so that slopes may be taken; else by the largest eigenvalue itself.
    """
    gram: Blocks | None = None  # the unit matrix
    steps: list[Step] = []
    exponent = 0
    for layer, (shape, logit) in zip(layers, parameters, strict=False):
        assert layer.slopes is not None
        before = _sandwich(layer, gram)
        a, b = layer.slopes
        root = np.exp(shape / 2)
        under = root[:, None] * before.made * root
        top, slope = _smooth(under) if smooth else (_largest(under), np.zeros(0))
        multiplier = _most(layer) / (1 + math.exp(-logit)) * root**2 / top
        made, passed = before.made, None
        if a * b:
            passed = np.linalg.inv(np.eye(len(multiplier)) + a * b * made * multiplier)
            made = passed @ made
            made = (made + adjoint(made)) / 2
        gram = np.diag(multiplier)[None] - ((a + b) / 2) ** 2 * multiplier[:, None] * made * multiplier
        power = power_of(multiplier)
        scale = 4.0**-power
        gram = gram * scale
        exponent -= power
        steepest, shares = np.zeros(0), np.zeros(0)
        if smooth:
            steepest = root[:, None] * slope * root
            shares = (slope * under.conj()).real.sum(axis=(0, 2)) / top
        steps.append(Step(layer, before, made, passed, top, steepest, shares, logit, multiplier, scale))
    return gram, exponent, steps


def _diagonal_of_product(left: Blocks, right: Blocks) -> Array:
    """(B, n): the real parts of the diagonals of ``left @ right``, without the rest of it."""
    made: Array = (left * right.swapaxes(1, 2)).real.sum(axis=2)
    return made


def power_of(multiplier: Multiplier) -> int:
    """X lies below T: taken times ``4**-power`` it is of order 1."""
    return math.frexp(float(multiplier.max()))[1] // 2


def _smooth(gram: Blocks) -> tuple[float, Blocks]:
    """``(sum of the eigenvalues of all blocks to the power of p)^(1/p)``, ``p = 2**SQUARINGS + 1``, and its slope.

    The largest eigenvalue itself has a kink wherever two are equal, which is where descent leads: it would go back and
    forth there, and rounding would decide which way.
    """
    scale = float(np.abs(diagonal_of(gram)).max())
    power, logarithm = gram / scale, 0.0
    for _ in range(SQUARINGS):
        power = power @ adjoint(power)  # itself: of a real matrix times its transpose BLAS computes one triangle
        size = float(np.abs(diagonal_of(power)).max())
        power, logarithm = power / size, 2 * logarithm + math.log(size)
    total = float((power * gram.conj()).real.sum()) / scale
    p = 2**SQUARINGS + 1
    value = math.exp((math.log(total) + logarithm) / p) * scale
    return value, power * (value / scale / total)


def _largest(gram: Blocks) -> float:
    """The largest eigenvalue of all blocks; of large ones by power iteration."""
    if gram.shape[-1] <= LARGE:
        return float(np.linalg.eigvalsh(gram)[:, -1].max())
    vectors: Blocks = np.random.default_rng(0).standard_normal((1, gram.shape[-1], 2))
    for _ in range(POWER_STEPS):
        vectors = gram @ vectors
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return float(np.linalg.norm(gram @ vectors, axis=1).max())


def _sandwich(layer: Layer, gram: Blocks | None) -> Sandwich:
    factor = None if gram is None else np.linalg.cholesky(gram)
    aliases = None if factor is None else layer.aliases
    half = adjoint(layer.blocks)
    if factor is not None:
        half = solved(factor, half) if aliases is None else _solved(aliases, factor, half).reshape(half.shape)
    made = adjoint(half) @ half
    return Sandwich(factor, half, made.real.sum(axis=0, keepdims=True) if layer.gathers else made, aliases)


def _solved(aliases: Aliases, factors: Blocks, right: Blocks, *, adjointly: bool = False) -> Blocks:
    """(G, K, n, m): `solved` for each alias, of ``right`` (G, K n, m)."""
    n = factors.shape[-1]
    made = solved(aliases.of(factors).reshape(-1, n, n), right.reshape(-1, n, right.shape[-1]), adjointly=adjointly)
    return made.reshape(len(right), aliases.count, n, -1)
