"""Several layers at once: a chain of matrix inequalities between a network's input and its logits.

Let ``d_0`` be a difference of two inputs, ``d_i`` that of the activations behind layer i, ``v_i = W_i d_{i-1}``. Slopes
in [a, b] mean ``(d_i - a v_i)(b v_i - d_i) >= 0``, entry by entry, so with any positive diagonal T

    |d_0|^2 >= d_{i-1}^T X_{i-1} d_{i-1},  N = W X_{i-1}^{-1} W^T  and  N^{-1} + ab T > 0  give
    |d_0|^2 >= d_i^T X_i d_i,  X_i = T - ((a+b)/2)^2 T (N^{-1} + ab T)^{-1} T.

From ``X_0 = I`` on, ``L^2`` is the largest eigenvalue of ``W_l X_{l-1}^{-1} W_l^T``. Every T gives a bound:
ECLipsE-Fast (Xu and Sivaranjani, NeurIPS 2024, arXiv 2404.04375) takes ``T = lambda I``, here
``lambda = 2/(max(|a|, |b|) (b - a) lmax(W X^{-1} W^T))``, with which the bound never exceeds the product of norms.
Gradient descent on all the T makes it smaller.

All of that proposes. Certified is what follows from the T alone: with P of ``P X P^H`` nearly I (checked),
``X^{-1} <= P^H P/(1 - eta)``, products carry a-priori bounds, and X is lowered by what rounding may have added to it.
Formulas: docs/numerics.md 3.5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from radii.lipschitz.blocks import Blocks, adjoint, diagonal_of, gathered, is_complex, real, solved
from radii.lipschitz.dense.matrix import gram_bound
from radii.lipschitz.network.descent import (
    LEAST_STEPS,
    RESTS,
    Multiplier,
    Objective,
    affordable_steps,
    descended,
    fast,
    mean_pair,
    norm_of,
    power_of,
)
from radii.lipschitz.network.effort import Effort
from radii.lipschitz.network.layers import Layer, frobenius
from radii.lipschitz.network.linear import NotApplicable
from radii.lipschitz.network.pairs import distances
from radii.lipschitz.rounding import UNIT, Upper, certified_arithmetic, gamma, ldexp_up, product_up, up

SYMMETRIC = 1e-3  # activations with a + b this near 0 gain nothing
SHARE, DESCENT_SHARE = 2, 128  # one part in so many of the budget: of a chain; of the descent on all chains


class Failed(Exception):
    """A proposal that cannot be certified."""


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """The certified end of the recursion: what a chain makes of a difference ``d_0`` is at most ``|blocks y|``, where
    ``|y| <= factor 2**exponent |d_0|``.

    Attributes:
        blocks: (B, m, n): of the last layer times ``P^H``.
        error: spectral norm of what a block may miss.
    """

    blocks: Blocks
    error: float
    factor: float
    exponent: int

    @certified_arithmetic()
    def upper(self, rtol: float) -> Upper:
        """The Lipschitz constant of the whole chain."""
        norm = gram_bound(real(self.blocks), rtol, error=self.error).upper
        return ldexp_up(product_up((norm, self.factor)), self.exponent)

    def pairs(self) -> npt.NDArray[np.float64]:
        """(K, K) Lipschitz constants of the differences of two outputs, of a chain that ends in a dense layer."""
        bounds = distances(self.blocks[0], 1.0) + 1.5 * self.error  # sqrt 2
        np.fill_diagonal(bounds, 0.0)
        return np.asarray(np.ldexp(np.nextafter(bounds * up(self.factor), np.inf), self.exponent))


def certified(layers: Sequence[Layer], effort: Effort, *, pairs: bool, chains: int = 1) -> list[Features]:
    """The end of the recursion for each proposal that can be certified. Raises `NotApplicable` if none can, or where
    it would take too long.

    Args:
        chains: the number of those that share what descent may take.
    """
    if any(x.slopes is not None and abs(sum(x.slopes)) <= SYMMETRIC * max(map(abs, x.slopes)) for x in layers):
        raise NotApplicable("an activation's slopes are as negative as they are positive")
    effort.take(_work(layers), effort.share(SHARE))
    shorter = _shortened(layers)
    starts = _started(shorter)
    most = effort.share(DESCENT_SHARE) // chains
    aims: list[tuple[Sequence[Layer], Objective]] = [(shorter, norm_of)]
    if pairs:
        aims.append((layers, mean_pair))
    proposals = []
    for of, aim in aims:
        steps = affordable_steps(of, most)
        if starts and steps >= LEAST_STEPS and any(layer.slopes is not None for layer in of):
            rest, start = starts[0]
            proposals.append(partial(descended, of, aim, steps, start, rest))
    found = _proved(layers, proposals)
    for _, start in starts:  # worth a proof only where what comes before has none
        found = found or _proved(layers, [lambda start=start: start])  # type: ignore[misc]
    if not found:
        raise NotApplicable("rounding stands in the way of a certificate")
    return found


def _started(layers: Sequence[Layer]) -> list[tuple[float, list[Multiplier]]]:
    """Multipliers without descent, and the share of them, those first that promise most."""
    found = []
    for rest in RESTS:
        with suppress(np.linalg.LinAlgError, ArithmeticError):
            value, multipliers = fast(layers, rest)
            found.append((value, rest, multipliers))
    return [(rest, multipliers) for _, rest, multipliers in sorted(found, key=lambda start: start[0])]


def _proved(layers: Sequence[Layer], proposals: Sequence[Callable[[], list[Multiplier]]]) -> list[Features]:
    """The end of the recursion for each proposal that can be certified."""
    found = []
    for propose in proposals:
        with suppress(Failed, np.linalg.LinAlgError, ArithmeticError), certified_arithmetic():
            found.append(features(layers, propose()))
    return found


@certified_arithmetic()
def features(layers: Sequence[Layer], multipliers: Sequence[Multiplier]) -> Features:
    """The end of the recursion for given multipliers T, one (m,) for each layer that an activation follows.

    Raises `Failed` where rounding, or a multiplier that is too large, stands in the way.
    """
    blocks = layers[0].blocks
    gram: Blocks = np.eye(blocks.shape[2], dtype=blocks.dtype)[None]
    whitening: Blocks | None = None  # the unit matrix
    slack, exponent = 1.0, 0
    for layer, multiplier in zip(layers, [*multipliers, None], strict=False):
        exponent += layer.exponent
        product, lost = _times(layer, whitening)
        if not (math.isfinite(lost) and math.isfinite(frobenius(product))):
            raise Failed("its numbers overflow")
        if layer.slopes is None or multiplier is None:
            return Features(product, lost, up(math.sqrt(slack)), exponent)
        if layer.slopes[0] * layer.slopes[1] != 0:
            product, lost, slack = _shifted(product, lost, slack, layer.slopes, multiplier)
        gram = _next(product, lost, slack, layer.slopes, multiplier)
        power = power_of(multiplier)
        gram = gram * 4.0**-power
        exponent -= power
        whitening, slack = _whitening(gram)
    assert whitening is not None
    return Features(whitening, 0.0, up(math.sqrt(slack)), exponent)


def _shortened(layers: Sequence[Layer]) -> list[Layer]:
    """The same chain, but for rounding, a last matrix of more outputs than inputs as a square one: of equal norms."""
    *before, last = layers
    if last.slopes is None and not last.gathers and last.blocks.shape[1] > last.blocks.shape[2]:
        triangle: Blocks = np.linalg.qr(last.blocks, mode="r")  # type: ignore[assignment]  # NumPy's types say a pair
        last = replace(last, blocks=triangle)
    return [*before, last]


def _work(layers: Sequence[Layer]) -> int:
    """Multiply-adds of a proposal without descent, and of its proof, about."""
    work = 0
    for layer in layers:
        count, m, n = layer.blocks.shape
        own = m * n * (m + n) + 3 * m**3 if layer.slopes is not None else m * n * min(m, n)
        work += 2 * count * own * (4 if is_complex(layer.blocks) else 1)
    return work


def _terms(blocks: Blocks, count: int) -> float:
    """Relative to the Frobenius norms of its factors, what a product with sums of ``count`` terms may lose."""
    return 2 * gamma(2 * count + 8) if is_complex(blocks) else gamma(count + 4)


def _times(layer: Layer, whitening: Blocks | None) -> tuple[Blocks, float]:
    """``W P^H`` and its error; of a layer that gathers, the one real matrix of all frequencies."""
    if whitening is None:
        product, lost = layer.blocks, up(layer.error)
    else:
        product = layer.behind(adjoint(whitening))
        wide = frobenius(whitening)
        lost = up(up(layer.error * wide) + up(_terms(product, layer.blocks.shape[2]) * frobenius(layer.blocks) * wide))
    if layer.gathers:
        lost = up(lost * up(math.sqrt(len(product))))
        product = gathered(product)
    return product, up(lost)


def _next(product: Blocks, lost: float, slack: float, slopes: tuple[float, float], multiplier: Multiplier) -> Blocks:
    """The next X, or less."""
    weight = up(up(up((slopes[0] + slopes[1]) / 2) ** 2 * (1 + 8 * UNIT)) * slack)
    scaled = multiplier[:, None] * product
    largest = float(multiplier.max())
    size, away = frobenius(scaled), up(largest * lost * (1 + 4 * UNIT))
    gram = scaled @ adjoint(scaled)
    rounding = (_terms(scaled, scaled.shape[2]) + 16 * UNIT) * size * size * 2
    total = weight * (rounding + 2 * away * size + away * away) + 8 * UNIT * (
        weight * size * size + largest * math.sqrt(len(multiplier))
    )
    return _lowered(np.diag(multiplier)[None] - weight * gram, total)


def _shifted(
    product: Blocks, lost: float, slack: float, slopes: tuple[float, float], multiplier: Multiplier
) -> tuple[Blocks, float, float]:
    """``(N^{-1} + ab T)^{-1}``, or more, in the form of ``N = W X^{-1} W^H``: a product, its error and a factor.

    With ``R R^H`` at least N it is at most ``R (I + ab R^H T R)^{-1} R^H``.
    """
    weight, size, order = slopes[0] * slopes[1], frobenius(product), product.shape[1]
    eye = np.eye(order, dtype=product.dtype)[None]
    # what the product may lose, and the factorisation, relative to |R|_F^2, which is less than twice |product|_F^2
    away = (_terms(product, product.shape[2]) + 2 * _terms(product, order) + 32 * UNIT) * size * size
    away = up(slack * (away + 2 * lost * size + lost * lost) * (1 + 64 * UNIT))
    if not order * away <= 0.5 * size * size:
        raise Failed("rounding is too large")
    root = np.linalg.cholesky(slack * (product @ adjoint(product)) + away * eye)
    scaled, wide = multiplier[:, None] * root, frobenius(root)
    rounding = (_terms(scaled, order) + 16 * UNIT) * frobenius(scaled) * wide * 2
    total = abs(weight) * (rounding + 8 * UNIT * frobenius(scaled) * wide) + 8 * UNIT * math.sqrt(order)
    whitening, slack = _whitening(_lowered(eye + weight * (adjoint(root) @ scaled), total))
    return root @ adjoint(whitening), up(_terms(root, order) * wide * frobenius(whitening)), slack


def _lowered(matrix: Blocks, total: float) -> Blocks:
    """A Hermitian matrix (its lower half counts) less ``total I``, and its own last rounding."""
    lower: Blocks = np.tril(matrix)
    lower = lower + adjoint(np.tril(matrix, -1))
    diagonal = diagonal_of(lower)
    if is_complex(lower):
        diagonal.imag = 0.0
    diagonal -= up(total * (1 + 1e-6)) + 4 * UNIT * float(np.abs(diagonal).max())
    return lower


def _whitening(gram: Blocks) -> tuple[Blocks, float]:
    """``(P, s)`` with ``X^{-1} <= s P^H P``: proves that X is positive definite."""
    try:
        factor = np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        raise Failed("a matrix is not positive definite") from None
    if not math.isfinite(frobenius(factor)):
        raise Failed("a matrix is not positive definite")
    order = gram.shape[-1]
    eye = np.eye(order, dtype=gram.dtype)
    whitening = solved(factor, eye[None])
    half = whitening @ gram
    rest = half @ adjoint(whitening) - eye
    moduli = np.abs(whitening)
    wide = up(math.sqrt(float(moduli.sum(1).max()) * float(moduli.sum(2).max())) * (1 + 2 * gamma(order + 8)))
    terms = _terms(gram, order) + 4 * UNIT
    size = frobenius(whitening)
    rounding = terms * (size * frobenius(gram) * wide + frobenius(half) * size)
    eta = frobenius(rest) * (1 + 4 * UNIT) + rounding * (1 + 1e-6)
    if not eta < 1e-3:
        raise Failed("rounding is too large")
    return whitening, up(up(1 / (1 - eta)) * (1 + 4 * UNIT))
