"""The single question: what margins are at least over regions. Formulas: docs/numerics.md 11.1."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from radii.graph import Graph
from radii.local.bounds import Bounds, margin_forms
from radii.local.network import Network
from radii.local.region import Region
from radii.local.slack import certified, lowered
from radii.norms import Norm

Box = tuple[npt.ArrayLike, npt.ArrayLike]


def bounded(network: Network, region: Region, labels: Tensor, *, bounds: Bounds | None = None) -> tuple[Tensor, Bounds]:
    """(N, classes) lower bounds of ``z_label - z_j`` over regions, infinite at the label itself; and what led there."""
    bounds = (bounds or Bounds(network, region)).forward()
    end = bounds.intervals[network.relaxed.output]
    margins = bounds.least(network.relaxed.output, margin_forms(labels, network.graph.num_classes))
    margins = torch.maximum(margins, lowered(end.lo.gather(1, labels[:, None]) - end.hi))
    return margins.scatter(1, labels[:, None], torch.inf), bounds


def margins(
    graph: Graph | Network,
    x: npt.ArrayLike,
    labels: npt.ArrayLike,
    eps: npt.ArrayLike,
    *,
    norm: Norm = "l2",
    box: Box | None = None,
    device: torch.device | str = "cpu",
) -> npt.NDArray[np.float64]:
    """(N, classes) lower bounds of the margins ``z_label - z_j`` over balls, rounding included.

    Args:
        graph: a classifier; its end that keeps the order of the classes is left out, as ``network_bound`` does it.
        x: (N, *input_shape) centres.
        labels: (N,) the class of each whose margins are bounded; the bound of its own is infinite.
        eps: radius of each ball, (N,) or one for all.
        box: (lo, hi), inputs of one sample or numbers: only what lies between them is looked at.

    Raises:
        NotRelaxable: a node has no rule.
        ValueError: shapes do not fit, or an input is not finite or outside the box.
    """
    network = graph if isinstance(graph, Network) else Network.of(graph, device)
    with certified(network.device), torch.no_grad():
        points, classes = inputs(network, x, labels)
        reach = tensor(network, eps).expand(len(points))
        if not bool((reach >= 0).all()):
            raise ValueError("a radius is not negative")
        region = Region.ball(points, reach, norm, valid_range(network, points, box))
        return bounded(network, region, classes)[0].cpu().numpy()


def margins_in_box(
    graph: Graph | Network,
    lower: npt.ArrayLike,
    upper: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    device: torch.device | str = "cpu",
) -> npt.NDArray[np.float64]:
    """The same over all inputs between two, (N, *input_shape) each."""
    network = graph if isinstance(graph, Network) else Network.of(graph, device)
    with certified(network.device), torch.no_grad():
        lo, classes = inputs(network, lower, labels)
        hi, _ = inputs(network, upper, labels)
        if not bool((lo <= hi).all()):
            raise ValueError("a lower end lies above its upper end")
        return bounded(network, Region.box(lo, hi), classes)[0].cpu().numpy()


def tensor(network: Network, values: npt.ArrayLike | Tensor) -> Tensor:
    """In float64, on the network's device."""
    return torch.as_tensor(np.asarray(values), dtype=torch.float64, device=network.device)


def inputs(network: Network, x: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Tensor, Tensor]:
    """Inputs (N, *shape) and their classes, checked."""
    points, given = tensor(network, x), np.asarray(labels)
    if tuple(points.shape[1:]) != network.graph.input_shape or not len(points):
        raise ValueError(f"inputs have the shape (N, *{network.graph.input_shape}), not {tuple(points.shape)}")
    if not bool(points.isfinite().all()):
        raise ValueError("an input is not finite")
    if given.shape != (len(points),) or given.dtype.kind not in "iu":
        raise ValueError(f"{len(points)} whole numbers are needed as labels, not {given.dtype} of shape {given.shape}")
    if given.min() < 0 or given.max() >= network.graph.num_classes:
        raise ValueError(f"a label is none of the {network.graph.num_classes} classes")
    return points, torch.as_tensor(given.astype(np.int64), device=network.device)


def valid_range(network: Network, points: Tensor, box: Box | None) -> tuple[Tensor, Tensor] | None:
    """A box, broadcast to the inputs that lie in it."""
    if box is None:
        return None
    lo, hi = (tensor(network, end).expand_as(points) for end in box)
    if not bool(((lo <= points) & (points <= hi)).all()):
        raise ValueError("an input lies outside the box")
    return lo, hi
