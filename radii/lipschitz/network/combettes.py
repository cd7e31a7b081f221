"""The bound of Combettes and Pesquet (SIAM J. Math. Data Sci. 2020, arXiv 1903.01014) for any interval of slopes.

An activation with slopes in [a, b] is ``c I + r D``, c = (a+b)/2, r = (b-a)/2, ``|D| <= 1``. Multiplying out a chain at
its last D gives, for the Lipschitz constant theta_i in front of activation i,

    theta_i = sum_{j<i} r_j theta_j |c_{j+1} ... c_{i-1}| ||W_i ... W_{j+1}||,  theta_0 = r_0 = 1.

For slopes in [0, 1] that is theirs, ``theta_m/2^(m-1)``. Formulas: docs/numerics.md 3.4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radii.lipschitz.blocks import Blocks, gathered, is_complex, parted, real
from radii.lipschitz.dense.matrix import gram_bound
from radii.lipschitz.network.aliases import Aliases
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
        product, share = _Product(layer.blocks, layer.error, layer.gathers, layer.aliases), 1.0
        for j in range(i, -1, -1):  # W_{i+1} ... W_{j+1} behind activation j
            if j < i:
                product = product.times(layers[j])
                share = product_up((share, centres[j]))
            if not math.isfinite(product.error) or not math.isfinite(frobenius(product.blocks)):
                raise NotApplicable("its numbers overflow")
            weight = product_up((radii[j], thetas[j], share))
            terms.append(product_up((weight, block_norm(product.whole, product.error, rtol))))
            if pairs and layer.slopes is None:
                apart = apart + weight * (distances(product.whole[0], 1.0) + 1.5 * product.error)  # sqrt 2
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


def block_norm(blocks: Blocks, error: float, rtol: float) -> Upper:
    """The largest spectral norm among blocks, real or complex."""
    return gram_bound(real(blocks), rtol, error=error).upper


def times(
    left: Blocks, left_error: float, right: Blocks, right_error: float, aliases: Aliases | None = None
) -> tuple[Blocks, float]:
    """A product of blocks, and its error; with ``aliases``, those of the right that a block of the left reads."""
    product = left @ right if aliases is None else aliases.times(left, right)
    terms = 2 * gamma(2 * left.shape[2] + 8) if is_complex(product) else gamma(left.shape[2] + 4)
    a, b = frobenius(left), frobenius(right)
    return product, up((left_error * (b + right_error) + a * right_error + terms * a * b) * (1 + 32 * UNIT))


@dataclass(frozen=True, slots=True, eq=False)
class _Product:
    """Linear layers without the activations between them; fields as those of a :class:`Layer`."""

    blocks: Blocks
    error: float
    gathers: bool
    aliases: Aliases | None

    @property
    def whole(self) -> Blocks:
        """As blocks whose norms, and the distances of whose rows, are its own."""
        return gathered(self.blocks) if self.gathers else self.blocks

    def times(self, layer: Layer) -> _Product:
        if layer.gathers:  # a real matrix, before it
            made, error = times(self.blocks, self.error, gathered(layer.blocks), layer.error)
            return _Product(parted(made, len(layer.blocks)), error, True, None)
        made, error = times(self.blocks, self.error, layer.blocks, layer.error, self.aliases)
        if self.gathers:
            error = up(error * math.sqrt(len(made)) * (1 + 4 * UNIT))
        aliases = layer.aliases if self.aliases is None else self.aliases
        if self.aliases is not None and layer.aliases is not None:
            aliases = self.aliases.behind(layer.aliases)
        return _Product(made, error, self.gathers, aliases)
