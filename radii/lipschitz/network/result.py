"""What is proved of a network, and what it is made of."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from radii.graph import Graph, Node
from radii.lipschitz.network.compose import SQRT2
from radii.lipschitz.network.forward import ForwardError
from radii.lipschitz.rounding import Lower, Upper, product_up

if TYPE_CHECKING:
    import torch

GENEROUS_MARGIN = 16.0  # logits: the other class is e^16, ten million, times less likely
USEFUL_RADIUS = 0.5 / 255  # half a step of an 8-bit pixel, inputs in [0, 1]


@dataclass(frozen=True, slots=True)
class LayerBound:
    """What one node contributes.

    Attributes:
        index: the node's position in the file (-1: put there by :func:`radii.graph.normalized`).
        label: the node's name in the file.
        rule: ``slope``, ``dense``, ``matrices``, ``convolution``, ``sum`` or ``concat``; where one that looks at
            several nodes was sharper, that one: ``linear``, ``1-Lipschitz residual``, ``residual average``, ``separate
            parts``.
        shape: of the weight, as the rule holds it; None without one.
        padding: (before, after) per axis of a convolution; of a transposed one, what is cropped.
        torus, method, iterations, upper, lower, slack: as in :class:`NormBound`; of a sum, ``upper`` is the sum of
            ``|c_i|``. ``lower`` is 0 where nothing is known from below.
        share: ``log upper / log L``; of a node with several inputs, the log of how much more its constant is than the
            largest of theirs. In a chain the shares add up to 1. None where L is 0, or too near 1 to divide by.
        seconds: wall time of its bound; next to nothing for a layer whose equal was bounded before.
    """

    index: int
    operator: str
    label: str
    rule: str
    shape: tuple[int, ...] | None
    padding: tuple[tuple[int, int], ...] | None
    torus: tuple[int, ...] | None
    method: str
    iterations: int
    upper: Upper
    lower: Lower
    slack: float
    share: float | None
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class NetworkBound:
    """A proved l2 Lipschitz constant of the logits, and what it is made of.

    Attributes:
        upper: ``||f(x) - f(x')|| <= upper ||x - x'||`` for all inputs.
        rule: how the layers were composed: ``product``, ``combettes-pesquet`` or ``eclipse``.
        pairwise: (K, K): ``pairwise[y, j]`` is a Lipschitz constant of ``z_y - z_j``, 0 on the diagonal. None where it
            would be ``sqrt(2) upper`` throughout.
        seconds: wall time of the bound.
        notes: why sharper rules could not treat a part of the network, one sentence each.
        error: what rounding does to logits evaluated in float64, see :mod:`radii.lipschitz.network.forward`.
        graph: the network whose outputs are those logits, see :func:`radii.graph.undecorated`.
        left_out: the nodes of the file that stand behind the logits: a softmax, say.
    """

    upper: Upper
    rule: str
    layers: tuple[LayerBound, ...]
    pairwise: npt.NDArray[np.float64] | None
    num_classes: int
    seconds: float
    error: ForwardError = field(repr=False)
    graph: Graph = field(repr=False)
    left_out: tuple[Node, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()

    def logits(self, x: npt.ArrayLike | torch.Tensor) -> torch.Tensor:
        """(N, K) logits of inputs (N, *input_shape), evaluated in float64 on the CPU: those that this is a bound of,
        which the outputs of the file need not be."""
        import torch  # what runs a network; its bound needs none

        from radii.graph import to_module

        with torch.no_grad():
            logits: torch.Tensor = to_module(self.graph, dtype=torch.float64)(
                torch.as_tensor(x, dtype=torch.float64, device="cpu")
            )
        return logits

    @property
    def vacuous(self) -> bool:
        """Whether even a margin of 16 logits certifies less than half a step of an 8-bit pixel: use smoothing."""
        return USEFUL_RADIUS * self.smallest_pair > GENEROUS_MARGIN

    @property
    def smallest_pair(self) -> float:
        """The smallest Lipschitz constant of a difference of two logits."""
        if self.pairwise is None:
            return product_up((SQRT2, self.upper))
        return float(self.pairwise[~np.eye(self.num_classes, dtype=bool)].min(initial=math.inf))

    def pairs(self, label: int) -> npt.NDArray[np.float64]:
        """(K,) Lipschitz constants of ``z_label - z_j``."""
        if self.pairwise is not None:
            row: npt.NDArray[np.float64] = self.pairwise[label]
            return row
        constants = np.full(self.num_classes, float(product_up((SQRT2, self.upper))))
        constants[label] = 0
        return constants

    def to_json(self) -> dict[str, Any]:
        """JSON values; of the pairs, the range only."""
        pairwise = None
        if self.pairwise is not None and self.num_classes > 1:
            off = self.pairwise[~np.eye(self.num_classes, dtype=bool)]
            pairwise = {"min": float(off.min()), "max": float(off.max())}
            if not math.isfinite(pairwise["max"]):  # JSON has no infinity
                pairwise = None
        return {
            "upper": self.upper,
            "norm": "l2",
            "rule": self.rule,
            "vacuous": self.vacuous,
            "notes": list(self.notes),
            "left_out": [
                {"index": node.index, "operator": node.operator.name, "label": node.label} for node in self.left_out
            ],
            "pairwise": pairwise,
            "layers": [asdict(layer) | {"seconds": round(layer.seconds, 6)} for layer in self.layers],
            "seconds": round(self.seconds, 3),
        }
