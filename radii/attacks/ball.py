"""The balls that certificates speak of: the steepest way out, the way back in, and how far away a point surely is."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from radii.norms import Norm

_TINY = 1e-30


def steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """The direction of length 1 in ``norm`` that each row's (batch, ...) gradient grows most along; 0 for 0."""
    rows = gradient.flatten(1)
    if norm == "l2":
        rows = rows / rows.abs().amax(1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)  # squares have a range
        step = rows / rows.norm(dim=1, keepdim=True).clamp_min(_TINY)
    elif norm == "linf":
        step = rows.sign()
    else:
        largest = rows.abs().argmax(1, keepdim=True)
        step = torch.zeros_like(rows).scatter(1, largest, rows.gather(1, largest).sign())
    return torch.reshape(step, gradient.shape)


def dual_norm(gradient: Tensor, norm: Norm) -> Tensor:
    """How much each row's gradient grows along its steepest direction: (batch,)."""
    orders = {"l2": 2.0, "linf": 1.0, "l1": float("inf")}
    size: Tensor = torch.linalg.vector_norm(gradient.flatten(1), ord=orders[norm], dim=1)
    return size


def projected(delta: Tensor, radius: float, norm: Norm) -> Tensor:
    """Each row (batch, ...), brought back into the ball of ``radius`` around 0 (the nearest point in l2)."""
    rows = delta.flatten(1)
    if norm == "l2":
        inside = rows * (radius / rows.norm(dim=1, keepdim=True).clamp_min(_TINY)).clamp_max(1.0)
    elif norm == "linf":
        inside = rows.clamp(-radius, radius)
    else:
        inside = _in_l1(rows, radius)
    return torch.reshape(inside, delta.shape)


def _in_l1(rows: Tensor, radius: float) -> Tensor:
    """Soft thresholding, by a threshold from sorted entries (Duchi et al., ICML 2008)."""
    sizes = rows.abs()
    falling = sizes.sort(dim=1, descending=True).values
    over = (falling.cumsum(1) - radius) / torch.arange(1, rows.shape[1] + 1, dtype=rows.dtype, device=rows.device)
    last = (falling > over).sum(1, keepdim=True).clamp_min(1) - 1
    threshold = over.gather(1, last).clamp_min(0.0)
    return rows.sign() * (sizes - threshold).clamp_min(0.0)


def distance(x: npt.NDArray[np.floating], other: npt.NDArray[np.floating], norm: Norm) -> float:
    """How far ``other`` is from ``x``, rounded up: the exact distance of the values as stored is not larger."""
    change = np.abs(other.astype(np.float64) - x.astype(np.float64)).reshape(-1)
    size = float(np.linalg.norm(change, {"l2": 2, "linf": np.inf, "l1": 1}[norm]))
    # a difference, a square, a sum of d terms, a root: each relative 2^-53 at most, twice over to be sure
    return float(np.nextafter(size * (1 + (change.size + 8) * 2.0**-52), np.inf))
