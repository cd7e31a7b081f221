"""The bound of Combettes and Pesquet (SIAM J. Math. Data Sci. 2020, arXiv 1903.01014) for any interval of slopes.

An activation with slopes in [a, b] is ``c I + r D``, c = (a+b)/2, r = (b-a)/2, ``|D| <= 1``. Multiplying out a chain at
its last D gives, for the Lipschitz constant theta_i in front of activation i,

    theta_i = sum_{j<i} r_j theta_j |c_{j+1} ... c_{i-1}| ||W_i ... W_{j+1}||,  theta_0 = r_0 = 1.

For slopes in [0, 1] that is theirs, ``theta_m/2^(m-1)``. Formulas: docs/numerics.md 3.4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from radii.lipschitz.blocks import Blocks, gathered, is_complex, real
from radii.lipschitz.dense.matrix import gram_bound
from radii.lipschitz.network.effort import Effort
from radii.lipschitz.network.layers import Layer, frobenius
from radii.lipschitz.network.linear import NotApplicable
from radii.lipschitz.network.pairs import distances
from radii.lipschitz.rounding import UNIT, Upper, certified_arithmetic, gamma, ldexp_up, product_up, sum_up, up

Array = npt.NDArray[np.float64]

SHARE = 32  # one part in so many of the budget


@certified_arithmetic()
def averaged(
    layers: Sequence[Layer], rtol: float, effort: Effort, *, pairs: bool = False
) -> tuple[Upper, Array | None]:
    """The bound of a chain; with ``pairs``, (K, K) of the differences of two outputs, of a chain that ends dense.

    Raises `NotApplicable` where it would take too long.
    """
    widest = max(layer.blocks.shape[2] for layer in layers)
    work = sum(x.blocks.size * widest * (4 if is_complex(x.blocks) else 1) for x in layers)
    effort.take(work * len(layers) ** 2, effort.share(SHARE))
    thetas, exponent = [Upper(1.0)], 0
    centres: list[float] = []
    radii = [1.0]
    for i, layer in enumerate(layers):
        exponent += layer.exponent
        terms = []
        apart: Array = np.zeros((layer.blocks.shape[1], layer.blocks.shape[1])) if pairs else np.zeros(0)
        product, error, share = layer.blocks, layer.error, 1.0
        for j in range(i, -1, -1):  # W_{i+1} ... W_{j+1} behind activation j
            if j < i:
                product, error = _times(product, error, layers[j])
                share = product_up((share, centres[j]))
            if not math.isfinite(error) or not math.isfinite(frobenius(product)):
                raise NotApplicable("its numbers overflow")
            weight = product_up((radii[j], thetas[j], share))
            terms.append(product_up((weight, block_norm(product, error, rtol))))
            if pairs and layer.slopes is None:
                apart = apart + weight * (_apart(product) + 1.5 * error)  # sqrt 2
        thetas.append(sum_up(terms))
        if layer.slopes is None:
            if not pairs:
                return ldexp_up(thetas[-1], exponent), None
            bounds = np.ldexp(apart * (1 + 8 * (i + 2) * UNIT), exponent)
            np.fill_diagonal(bounds, 0.0)
            return ldexp_up(thetas[-1], exponent), bounds
        a, b = layer.slopes
        centres.append(up(abs(a + b) / 2 * (1 + 4 * UNIT)))
        radii.append(up((b - a) / 2 * (1 + 4 * UNIT)))
    assert layers[-1].slopes is not None
    return ldexp_up(product_up((thetas[-1], max(map(abs, layers[-1].slopes)))), exponent), None


def _apart(product: Blocks) -> Array:
    """Distances between the rows of the one real matrix that a product is."""
    rows = gathered(product) if is_complex(product) else product
    return distances(rows[0], 1.0)


def block_norm(blocks: Blocks, error: float, rtol: float) -> Upper:
    """The largest spectral norm among blocks, real or complex."""
    return gram_bound(real(blocks), rtol, error=error).upper


def times(left: Blocks, left_error: float, right: Blocks, right_error: float) -> tuple[Blocks, float]:
    """A product of blocks, and its error."""
    product = left @ right
    terms = 2 * gamma(2 * left.shape[2] + 8) if is_complex(product) else gamma(left.shape[2] + 4)
    a, b = frobenius(left), frobenius(right)
    return product, up((left_error * (b + right_error) + a * right_error + terms * a * b) * (1 + 32 * UNIT))


def _times(product: Blocks, error: float, layer: Layer) -> tuple[Blocks, float]:
    if not layer.gathers:
        if is_complex(layer.blocks) and not is_complex(product):  # columns are the frequencies of what is gathered
            count, order = layer.blocks.shape[:2]
            parts = product.reshape(-1, count, 2, order).transpose(1, 0, 2, 3)
            apart = parts[:, :, 0] + 1j * parts[:, :, 1]
            made, lost = times(apart, error, layer.blocks, layer.error)
            return gathered(made), up(lost * math.sqrt(count) * (1 + 4 * UNIT))
        return times(product, error, layer.blocks, layer.error)
    return times(product, error, gathered(layer.blocks), layer.error)
