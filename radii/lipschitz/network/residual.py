"""Residual blocks ``x + U act(V x)``: sharper than ``1 + ||U|| ||V||``, and 1 where the block is built to be.

With slopes in [0, 1] the Jacobian is ``I + U D V``, D a diagonal in [0, 1]. Whatever the file calls the block:

* ``U = -2 V^T tau + R``, tau a non-negative diagonal with ``||tau^(1/2) V||^2 <= 1 + e``: then
  ``L <= sqrt(1 + 4 e (1 + e)) + ||R|| ||V||``. For the layers of Meunier et al. (CPL, arXiv 2110.12690) and Araujo et
  al. (SLL, arXiv 2303.03169) that is 1, but for the rounding of their weights, which is in e and R. (``S = tau D``:
  ``|(I - 2 V^T S V)x|^2 = |x|^2 - 4 x^T V^T (S - S V V^T S) V x``, and ``S V V^T S <= (1 + e) tau D^2``.)
* the same with room, ``||tau^(1/2) V||^2 <= 1 - d``: then ``L <= sqrt(1 + r^2/(4 d))``, ``r = ||R tau^(-1/2)||``: for
files
  whose second weight has the factors in it, rounded. (With ``y = D V x`` and ``w = tau^(1/2) y`` the square of
  ``|x - 2 V^T tau y|`` is at most ``|x|^2 - 4 d |w|^2``, ``|R y| <= r |w|``, and ``sqrt(1 - t^2) + c t <= sqrt(1 +
  c^2)``.)
* slopes in [a, b] of any block: ``L <= ||I + (a+b)/2 U V|| + (b-a)/2 ||U|| ||V||``, U and V balanced by powers of two
  per hidden unit, which D does not see.

Formulas: docs/numerics.md 3.3.
"""

from __future__ import annotations

import math

import numpy as np

from radii.lipschitz.blocks import Array, Blocks, adjoint, is_complex
from radii.lipschitz.dense.matrix import gram_work
from radii.lipschitz.network.chain import Chain
from radii.lipschitz.network.combettes import block_norm, times
from radii.lipschitz.network.effort import Effort
from radii.lipschitz.network.layers import Layer, frobenius, layers_of
from radii.lipschitz.network.linear import NotApplicable
from radii.lipschitz.rounding import UNIT, Upper, certified_arithmetic, down, product_up, sum_up, up

NORMS = 4  # of each layer's size, about: three, and a product
TIGHT = 1e-9
ROUGH = 1e-6


@certified_arithmetic()
def residual_bound(chain: Chain, sign: float, effort: Effort) -> tuple[Upper, str]:
    """A Lipschitz constant of ``x + sign f(x)``, f the chain, and the rule that gave it. Raises `NotApplicable`, or
    `TooMuchWork`.
    """
    if len(chain.pieces) != 2 or len(chain.slopes) != 1:
        raise NotApplicable("its branch is not two layers with an activation between them")
    parts = layers_of(chain)
    if len(parts) != 1 or len(parts[0]) != 2 or any(layer.gathers or layer.aliases for layer in parts[0]):
        raise NotApplicable("its branch cannot be written on one torus, or as matrices")
    inner, outer = parts[0]
    slopes = inner.slopes
    assert slopes is not None
    effort.spend(
        NORMS * sum(gram_work(layer.blocks.shape) * (8 if is_complex(layer.blocks) else 1) for layer in parts[0])
    )
    v, v_error = _plain(inner)
    u, u_error = _plain(outer)
    u = sign * u
    if v.shape[2] != u.shape[1]:
        raise NotApplicable("its branch does not end where it began")
    bounds = [(_averaged(u, u_error, v, v_error, slopes), "residual average")]
    if slopes[0] >= 0:
        bounds.append((_contraction(u, u_error, v, v_error, slopes[1]), "1-Lipschitz residual"))
    return min((b for b in bounds if math.isfinite(b[0])), key=lambda b: b[0], default=(Upper(math.inf), ""))


def _plain(layer: Layer) -> tuple[Blocks, float]:
    if abs(layer.exponent) > 300:
        raise NotApplicable("its weights are near the end of the range of float64")
    factor = 2.0**layer.exponent
    return layer.blocks * factor, layer.error * factor


def _averaged(u: Blocks, u_error: float, v: Blocks, v_error: float, slopes: tuple[float, float]) -> Upper:
    a, b = slopes
    product, error = times(u, u_error, v, v_error)
    centre, radius = (a + b) / 2, up((b - a) / 2 * (1 + 4 * UNIT))
    shifted = np.eye(product.shape[1]) + centre * product
    rounding = 8 * UNIT * (abs(centre) * frobenius(product) + frobenius(shifted))
    error = up(abs(centre) * error * (1 + 8 * UNIT) + rounding)
    columns, rows = _per_unit(u.swapaxes(1, 2)), _per_unit(v)
    ratio = np.clip(np.where((columns > 0) & (rows > 0), columns / rows, 1.0), 2.0**-200, 2.0**200)
    scale = np.exp2(np.round(np.log2(ratio) / 2))  # exact
    outer = block_norm(u / scale, up(u_error / float(scale.min())), ROUGH)
    inner = block_norm(v * scale[:, None], up(v_error * float(scale.max())), ROUGH)
    spread = product_up((outer, inner))
    return sum_up((block_norm(shifted, error, TIGHT), product_up((radius, spread))))


def _contraction(u: Blocks, u_error: float, v: Blocks, v_error: float, steepest: float) -> Upper:
    squares = _per_unit(v) ** 2
    inner = (u.swapaxes(1, 2) * v).real.sum(axis=(0, 2))
    tau = np.maximum(np.where(squares > 0, -steepest * inner / (2 * squares), 0.0), 0.0)
    tau[squares == 0] = tau.max(initial=0.0)  # a unit that reads nothing may have any
    if not np.isfinite(tau).all():
        return Upper(math.inf)
    root = np.sqrt(tau)
    size, largest = frobenius(v), float(root.max())
    rounding = 8 * UNIT * largest * size
    scaled = block_norm(root[:, None] * v, up((largest * v_error + rounding) * (1 + 16 * UNIT)), TIGHT)
    excess = up(up(scaled * scaled) - 1)
    rest = steepest * u + 2 * adjoint(v) * tau
    lost = steepest * u_error + 2 * largest**2 * v_error + 16 * UNIT * (steepest * frobenius(u) + 2 * largest**2 * size)
    lost = up(lost * (1 + 16 * UNIT))
    distance = product_up((block_norm(rest, lost, ROUGH), block_norm(v, v_error, ROUGH)))
    if excess > 0:
        return sum_up((up(math.sqrt(up(1 + up(4 * up(excess * up(1 + excess)))))), distance))
    plain = sum_up((Upper(1.0), distance))
    if not (excess < 0 and root.min() > 0):
        return plain
    over = rest / root
    error = up((lost / float(root.min()) + 8 * UNIT * frobenius(over)) * (1 + 16 * UNIT))
    if not (np.isfinite(over).all() and math.isfinite(error)):
        return plain
    ratio = block_norm(over, error, ROUGH)
    return min(plain, up(math.sqrt(up(1 + up(up(ratio * ratio) / down(-4 * excess))))))


def _per_unit(blocks: Blocks) -> Array:
    """(m,) Euclidean norms of the rows, over all blocks: an estimate."""
    norms: Array = np.sqrt(np.square(np.abs(blocks)).sum(axis=(0, 2)))
    return norms
