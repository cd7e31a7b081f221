"""How near a class change is, exactly: of small piecewise linear networks by enumeration of their linear regions.

The closed regions of a network cover the space, so the nearest input of another class is the nearest point of one of
the polyhedra {a region's side of every unit, ``z_j >= z_y``}. They are searched unit by unit, branch and bound. The
distance of a polyhedron ``G u >= h`` from 0 in a norm is a linear or a least distance program; both its ends are looked
at: ``||u||`` at a point of it, and by weak duality ``h.w / ||w G||_*`` for any ``w >= 0``. The two agree to `GAP`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linprog, nnls

from radii.attacks.ball import distance, projected, steepest
from radii.attacks.network import Classifier, margin_gradient
from radii.norms import Norm
from tests.graph.build import model, node

GAP = 1e-10  # between the two ends, relative to the larger of the distance and 1e-3
Array = npt.NDArray[np.float64]
ORDERS = {"l2": 2, "linf": np.inf, "l1": 1}
DUALS = {"l2": 2, "linf": 1, "l1": np.inf}


@dataclass(frozen=True)
class Chain:
    """Dense layers ``W x + b`` with ``max(v, slope v)`` between them, in float64 (weights that float32 holds)."""

    layers: tuple[tuple[Array, Array], ...]
    slope: float = 0.0  # 0: ReLU; -1: absolute value

    @classmethod
    def drawn(cls, widths: Sequence[int], rng: np.random.Generator, slope: float = 0.0) -> "Chain":
        """Weights of the usual size, from the input's width to the number of classes."""

        def layer(n: int, m: int) -> tuple[Array, Array]:
            weight, bias = rng.normal(0, (2 / n) ** 0.5, (m, n)), rng.normal(0, 0.5, m)
            return weight.astype(np.float32).astype(np.float64), bias.astype(np.float32).astype(np.float64)

        return cls(tuple(layer(n, m) for n, m in pairwise(widths)), slope)

    @property
    def units(self) -> int:
        return sum(len(bias) for _, bias in self.layers[:-1])

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Logits (N, classes) of inputs (N, width)."""
        values = np.asarray(x, np.float64)
        for i, (weight, bias) in enumerate(self.layers):
            if i:
                values = np.maximum(values, self.slope * values)
            values = values @ weight.T + bias
        return values

    def onnx(self) -> bytes:
        """The same as a file, for a slope from 0 to 1, or -1."""
        nodes, last = [], "x"
        constants: dict[str, np.ndarray] = {}
        for i, (weight, bias) in enumerate(self.layers):
            if i:
                kind = {0.0: "Relu", -1.0: "Abs"}.get(self.slope, "LeakyRelu")
                nodes.append(node(kind, [last], f"a{i}", **({"alpha": self.slope} if kind == "LeakyRelu" else {})))
                last = f"a{i}"
            constants |= {f"w{i}": weight.astype(np.float32), f"b{i}": bias.astype(np.float32)}
            output = "y" if i == len(self.layers) - 1 else f"z{i}"
            nodes.append(node("Gemm", [last, f"w{i}", f"b{i}"], output, transB=1))
            last = output
        return model(nodes, [self.layers[0][0].shape[1]], constants)


def nearest_change(network: Chain, x: npt.ArrayLike, norm: Norm) -> tuple[float, Array | None]:
    """The distance of the nearest input at which another class's logit is at least that of ``x``'s class, and it.

    Infinite, and None, where there is none; 0 where ``x`` itself is a tie.
    """
    center = np.asarray(x, np.float64)
    label = int(network([center])[0].argmax())
    search = _Search(network, center, label, norm)
    n = len(center)
    search.layer(0, np.eye(n), center, _Region(np.zeros((0, n)), np.zeros(0), 0.0, np.zeros(n)))
    return search.distance, None if search.change is None else center + search.change


class _Search:
    """Branch and bound over the sides of units. Everything is in the change u of the input."""

    def __init__(self, network: Chain, center: Array, label: int, norm: Norm) -> None:
        self.network, self.center, self.label, self.norm = network, center, label, norm
        self.distance = np.inf
        self.change: Array | None = None

    def layer(self, depth: int, slopes: Array, offset: Array, region: "_Region") -> None:
        """The layers from ``depth`` on, whose input is ``slopes u + offset`` in the region."""
        weight, bias = self.network.layers[depth]
        slopes, offset = weight @ slopes, weight @ offset + bias
        if depth < len(self.network.layers) - 1:
            self.unit(depth, 0, slopes, offset, region)
            return
        for j in range(len(offset)):
            if j != self.label:
                end = region.cut(slopes[j] - slopes[self.label], offset[self.label] - offset[j], self.norm)
                if end.distance < self.distance:
                    self.distance, self.change = end.distance, end.change

    def unit(self, depth: int, i: int, slopes: Array, offset: Array, region: "_Region") -> None:
        """The units of a layer from the i-th on; first the side that the region's nearest point lies on."""
        if i == len(offset):
            self.layer(depth + 1, slopes, offset, region)
            return
        for side in (1.0, -1.0) if slopes[i] @ region.change + offset[i] >= 0 else (-1.0, 1.0):
            half = region.cut(side * slopes[i], -side * offset[i], self.norm)
            if half.distance < self.distance:
                factor = np.ones(len(offset))
                factor[i] = 1.0 if (side > 0) == (self.network.slope <= 1) else self.network.slope
                self.unit(depth, i + 1, slopes * factor[:, None], offset * factor, half)


@dataclass(frozen=True)
class _Region:
    """``G u >= h``, with its point that is nearest to 0."""

    G: Array
    h: Array
    distance: float
    change: Array

    def cut(self, row: Array, limit: float, norm: Norm) -> "_Region":
        """What of it has ``row . u >= limit``: its nearest point is the same if that has it."""
        G, h = np.vstack([self.G, row]), np.append(self.h, limit)
        if row @ self.change >= limit:
            return _Region(G, h, self.distance, self.change)
        return _Region(G, h, *nearest_in(G, h, norm))


def nearest_in(G: Array, h: Array, norm: Norm) -> tuple[float, Array]:
    """The least ``||u||`` with ``G u >= h``, and such a u; infinite, and 0, where there is none.

    What is found lies between a point of the polyhedron and what duality proves, which is asserted to `GAP`.
    """
    sizes = np.linalg.norm(G, axis=1)
    if (h[sizes == 0] > 0).any():
        return np.inf, np.zeros(G.shape[1])
    G, h = G[sizes > 0] / sizes[sizes > 0, None], h[sizes > 0] / sizes[sizes > 0]
    if (h <= 0).all():
        return 0.0, np.zeros(G.shape[1])
    found = _least_distance(G, h) if norm == "l2" else _linear_program(G, h, norm)
    if found is None:
        return np.inf, np.zeros(G.shape[1])
    change, weights = found
    above = float(np.linalg.norm(change, ORDERS[norm]))
    below = float(h @ weights / np.linalg.norm(weights @ G, DUALS[norm]))
    assert (h - G @ change).max() <= GAP * max(above, 1e-3)
    assert abs(above - below) <= GAP * max(above, 1e-3)
    return below, change


def _least_distance(G: Array, h: Array) -> tuple[Array, Array] | None:
    """Lawson and Hanson, Solving Least Squares Problems, 23.4: least distance as nonnegative least squares."""
    rows = np.vstack([G.T, h])
    target = np.zeros(len(rows))
    target[-1] = 1.0
    weights, _ = nnls(rows, target, maxiter=100 * len(h))
    rest = target - rows @ weights  # proportional to (-u, 1)
    if rest[-1] <= 1e-10:  # 1 / (1 + ||u||^2)
        return None
    met = weights > 0  # the constraints that hold with equality, which say u without the squares' loss of digits
    change = np.linalg.lstsq(G[met], h[met])[0]
    exact = np.zeros(len(h))
    exact[met] = np.linalg.lstsq(G[met].T, change)[0]
    return change, np.maximum(exact, 0.0)


def _linear_program(G: Array, h: Array, norm: Norm) -> tuple[Array, Array] | None:
    n = G.shape[1]
    if norm == "l1":  # u = p - q
        costs, rows, limits = np.ones(2 * n), np.hstack([-G, G]), -h
    else:  # (u, t) with -t <= u <= t
        unit, ones = np.eye(n), np.ones((n, 1))
        costs = np.append(np.zeros(n), 1.0)
        rows = np.vstack([np.hstack([-G, np.zeros((len(G), 1))]), np.hstack([unit, -ones]), np.hstack([-unit, -ones])])
        limits = np.concatenate([-h, np.zeros(2 * n)])
    bounds = (0, None) if norm == "l1" else (None, None)
    tight = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    solved = linprog(costs, rows, limits, bounds=bounds, method="highs-ds", options=tight)
    if solved.status == 2:
        return None
    assert solved.status == 0, solved.message
    change = solved.x[:n] - solved.x[n:] if norm == "l1" else solved.x[:n]
    return change, np.maximum(-solved.ineqlin.marginals[: len(h)], 0.0)


def nearest_found(
    classifier: Classifier, x: npt.ArrayLike, label: int, norm: Norm, reach: float, *, seed: int, steps: int = 30
) -> float | None:
    """The distance, rounded up, of the nearest input found whose largest logit is another than ``label``; or None.

    Projected gradient descent on the margin in the ball of ``reach`` from eight starts. On the line from ``x`` to each
    point that it comes to, the margin is looked at in 32 places, and the first change of sign is bisected to the end:
    unlike a fixed number of halvings that gives what a line through a piecewise linear network has to give.

    Args:
        classifier: (batch, *shape) to logits in float64.
        x: one input, without batch axis.
    """
    center = torch.as_tensor(np.asarray(x, np.float64))
    draw = torch.Generator().manual_seed(seed)
    delta = projected(reach * torch.randn((8, *center.shape), generator=draw, dtype=torch.float64), reach, norm)
    delta[0] = 0.0
    fractions = torch.arange(1, 33, dtype=torch.float64) / 32
    best: tuple[float, torch.Tensor] | None = None
    labels = torch.full((len(delta) * len(fractions),), label)

    def other(points: torch.Tensor) -> torch.Tensor:
        """Whether another class's logit is larger."""
        with torch.no_grad():
            logits = classifier(points)
        rows = labels[: len(points), None]
        return logits.scatter(1, rows, -torch.inf).amax(1) > logits.gather(1, rows)[:, 0]

    def size(change: torch.Tensor) -> float:
        return distance(center.numpy(), (center + change).numpy(), norm)

    for step in range(steps):
        if step:
            gradient = margin_gradient(classifier, center + delta, label, None)[1]
            delta = projected(delta - 2 * reach / step * steepest(gradient, norm), reach, norm)
        lines = delta[:, None] * fractions.view(-1, *[1] * center.dim())
        crossed = other(center + lines.flatten(0, 1)).view(len(delta), -1)
        for row in crossed.any(1).nonzero()[:, 0].tolist():
            inside = torch.zeros_like(center)
            outside = lines[row, int(crossed[row].int().argmax())]
            if best is not None and size(inside) >= best[0]:
                continue
            for _ in range(60):
                middle = (inside + outside) / 2
                inside, outside = (inside, middle) if bool(other((center + middle)[None])) else (middle, outside)
            if best is None or size(outside) < best[0]:
                best = (size(outside), outside)
    return None if best is None else best[0]
