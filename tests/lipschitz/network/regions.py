"""The exact Lipschitz constant of a small piecewise linear graph: every region where it is linear, found by LPs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import scipy

from radii.graph import Graph, Node

Affine = tuple[np.ndarray, np.ndarray]
"""(n, d) and (n,): what a value of n entries is of the input within a region."""

NOTHING = 1e-10  # of the half-spaces of a region of no volume
FAR = 1e3  # no region ends farther out


class Region:
    """Where ``a x + b > 0`` for some rows, and a point of it."""

    def __init__(self, rows: np.ndarray, offsets: np.ndarray, near: np.ndarray) -> None:
        self.rows, self.offsets, axes = rows, offsets, rows.shape[1]
        if (rows @ near + offsets >= 1e-6 * np.linalg.norm(rows, axis=1)).all():
            self.point: np.ndarray | None = near
            return
        # the largest t with a x + b >= t |a|
        made = scipy.optimize.linprog(
            [*[0.0] * axes, -1.0],
            np.hstack([-rows, np.linalg.norm(rows, axis=1)[:, None]]),
            offsets,
            bounds=[*[(-FAR, FAR)] * axes, (0, 1)],
        )
        self.point = made.x[:-1] if made.status == 0 and made.x[-1] > NOTHING else None

    def parted(self, a: np.ndarray, b: float) -> Iterator[tuple[Region, bool]]:
        """Its parts with volume where ``a x + b`` is positive, and where it is negative."""
        assert self.point is not None
        size = float(np.linalg.norm(a))
        if size < 1e-12:
            yield self, b >= 0
            return
        for sign in (1, -1):
            part = Region(np.vstack([self.rows, sign * a]), np.append(self.offsets, sign * b), self.point)
            if part.point is not None:
                yield part, sign > 0


def steepest(graph: Graph) -> float:
    """The largest norm of a Jacobian in any region."""
    axes = math.prod(graph.input_shape)
    whole = Region(np.zeros((0, axes)), np.zeros(0), np.zeros(axes))
    return max(
        float(np.linalg.norm(values[graph.output][0], 2))
        for _, values in _walked(graph.nodes, whole, {graph.input: (np.eye(axes), np.zeros(axes))})
    )


def _walked(
    nodes: Sequence[Node], region: Region, values: dict[str, Affine]
) -> Iterator[tuple[Region, dict[str, Affine]]]:
    if not nodes:
        yield region, values
        return
    node, *rest = nodes
    for part, made in _made(node, region, [values[name] for name in node.inputs]):
        yield from _walked(rest, part, values | {node.output: made})


def _made(node: Node, region: Region, given: list[Affine]) -> Iterator[tuple[Region, Affine]]:
    operator: Any = node.operator
    (a, c), *others = given
    match operator.name:
        case "Neg":
            yield region, (-a, -c)
        case "Mul":
            yield region, (a * operator.constant[:, None], c * operator.constant)
        case "Add" | "Sub":
            sign = 1 if operator.name == "Add" else -1
            b, d = others[0] if others else (0 * a, operator.constant.astype(float))
            yield region, (a + sign * b, c + sign * d)
        case "Gather":
            yield region, (a[operator.indices], c[operator.indices])
        case "ReduceMean":
            yield region, (a.mean(0, keepdims=True), c.mean(0, keepdims=True))
        case "Concat":
            yield region, (np.concatenate([x for x, _ in given]), np.concatenate([x for _, x in given]))
        case "Relu" | "LeakyRelu" | "Abs":
            slope = {"Relu": 0.0, "Abs": -1.0}.get(operator.name)
            yield from _chosen(region, given[0], _times(given[0], operator.alpha if slope is None else slope))
        case "Max":
            yield from _chosen(region, *given)
        case "Min":
            for part, (x, y) in _chosen(region, *(_times(value, -1) for value in given)):
                yield part, (-x, -y)
        case "ReduceMax":
            found = [(region, (a[:1], c[:1]))]
            for i in range(1, len(a)):
                found = [end for part, made in found for end in _chosen(part, made, (a[i : i + 1], c[i : i + 1]))]
            yield from found
        case _:
            raise NotImplementedError(operator.name)


def _times(value: Affine, factor: float) -> Affine:
    return value[0] * factor, value[1] * factor


def _chosen(region: Region, first: Affine, second: Affine) -> Iterator[tuple[Region, Affine]]:
    """The larger of two, entry by entry; a slope below 1 makes that of x and a x, which is what bends at 0."""
    ends = [(region, np.zeros(0, bool))]
    for i in range(len(first[1])):
        a, b = first[0][i] - second[0][i], float(first[1][i] - second[1][i])
        ends = [(part, np.append(chosen, above)) for old, chosen in ends for part, above in old.parted(a, b)]
    for part, chosen in ends:
        yield part, (np.where(chosen[:, None], first[0], second[0]), np.where(chosen, first[1], second[1]))
