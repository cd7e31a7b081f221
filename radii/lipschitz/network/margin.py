"""Certified radii from logits: how far the input may move before another class can win.
Formulas: docs/numerics.md 3.9.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from radii.lipschitz.network.compose import SQRT2
from radii.lipschitz.network.result import NetworkBound
from radii.lipschitz.rounding import check_float64, is_tensor, product_up

if TYPE_CHECKING:
    import torch

    LogitsLike = npt.ArrayLike | torch.Tensor


class Margin(NamedTuple):
    """A prediction and its certified l2 radius.

    Attributes:
        prediction: the class with the largest logit (the lowest one of a tie); None if a logit is not finite.
        runner_up: the class that limits the radius; None if a logit is not finite.
        radius: no input nearer than this is classified otherwise. None: abstain.
    """

    prediction: int | None
    runner_up: int | None
    radius: float | None


def margin_radius(logits: LogitsLike, bound: NetworkBound, *, norms: LogitsLike) -> list[Margin]:
    """The certified l2 radius of each input: ``min_j (z_y - z_j - error) / L_yj``, rounded down.

    What is claimed: within the radius, the network in real arithmetic, with the weights as stored, has its largest
    logit, and so its largest output, at ``prediction``. The logits are those of ``bound.graph``, evaluated in float64
    as ``bound.logits(x)`` does it; what that may have lost is bounded by :mod:`radii.lipschitz.network.forward` and
    subtracted from the margin. The outputs of a file are others where ``bound.left_out`` names nodes: of probabilities
    a radius would be several times too small, of outputs that an end has stretched (times three, an exponential) it
    would be **false**.

    Args:
        logits: (N, K), float64: ``bound.logits(x)``.
        bound: the network's.
        norms: (N,) l2 norms of the inputs the logits belong to, or upper bounds of them.

    Raises:
        EmulatedFloat64: the logits come from a GPU whose products may not be in float64.
        ValueError: shapes or dtype do not fit.
    """
    if is_tensor(logits):
        check_float64(logits.device)
    z, sizes = _array(logits), _array(norms)
    if z.dtype != np.float64:
        raise ValueError(f"logits must be evaluated in float64, not {z.dtype}: use bound.logits(x)")
    if z.ndim != 2 or z.shape[1] != bound.num_classes or sizes.shape != z.shape[:1]:
        raise ValueError(
            f"logits of shape (N, {bound.num_classes}) and N norms are needed, not {z.shape} and {sizes.shape}"
        )
    # a norm may be short by its own rounding, of a long sum in float32 even
    return [_margin(row, bound, float(size) * (1 + 2.0**-6)) for row, size in zip(z, sizes, strict=True)]


def certified_accuracy(margins: Sequence[Margin], labels: npt.ArrayLike, radius: float) -> float:
    """The share of inputs that are answered rightly with at least this l2 radius; abstaining counts as wrong.

    Args:
        labels: (N,) integers, one a margin.
    """
    truth: npt.NDArray[Any] = np.asarray(labels)
    if truth.shape != (len(margins),) or not len(margins):
        raise ValueError(f"one label a margin is needed: {truth.shape} labels for {len(margins)} margins")
    right = [
        margin.prediction == label and margin.radius is not None and margin.radius >= radius
        for margin, label in zip(margins, truth.tolist(), strict=True)
    ]
    share: float = sum(right) / len(right)
    return share


def _margin(z: npt.NDArray[np.float64], bound: NetworkBound, norm: float) -> Margin:
    if not np.isfinite(z).all() or not np.isfinite(norm) or len(z) < 2:
        return Margin(None, None, None)
    y = int(z.argmax())
    error = product_up((SQRT2, bound.error.at(norm)))  # of a difference of two logits
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        margins = np.nextafter(np.nextafter(z[y] - z, -np.inf) - error, -np.inf)
        radii = np.where(margins > 0, np.nextafter(margins / bound.pairs(y), -np.inf), 0.0)
    radii[y] = np.inf
    runner_up = int(radii.argmin())
    if radii[runner_up] <= 0:
        return Margin(y, runner_up, None)
    # a network that does not read its input has no nearest other class
    return Margin(y, runner_up, min(float(radii[runner_up]), sys.float_info.max))


def _array(values: LogitsLike) -> npt.NDArray[Any]:
    return values.detach().cpu().numpy() if is_tensor(values) else np.asarray(values)
