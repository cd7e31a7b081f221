"""Convolutions of one activation that are added up are one convolution: ``x - w * x``, or a block of RepVGG's as it is
trained. Its kernel is the sum of theirs. Formulas: docs/numerics.md 3.10.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from radii.graph import Graph, Node
from radii.graph.operator import Shape
from radii.graph.rules import Convolution, Sum
from radii.lipschitz.network.forms import Array
from radii.lipschitz.network.linear import NotApplicable, per_channel
from radii.lipschitz.rounding import UNIT, as_float64, gamma, up

MOST_ENTRIES = 2**22  # of a kernel
MOST_NODES = 64  # that are added up
ROUNDINGS = 8  # of a weight, of which `radii.lipschitz.network.fourier` allows for twice as many


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """A convolution with zero padding, of which output ``o`` reads ``first + stride o`` and what follows.

    Attributes:
        weight: (out, in/groups, *taps).
        error: the same shape; what rounding may have moved it by.
    """

    weight: Array
    error: Array
    first: tuple[int, ...]
    stride: tuple[int, ...]
    groups: int

    @classmethod
    def of(cls, rule: Convolution) -> Kernel:
        """Raises `NotApplicable`."""
        if rule.transposed:
            raise NotApplicable("a transposed convolution is none of these")
        given = as_float64(rule.weight)
        taps = tuple(d * (k - 1) + 1 for k, d in zip(given.shape[2:], rule.dilation, strict=True))
        weight = _zeros((*given.shape[:2], *taps))
        weight[(slice(None), slice(None), *(slice(None, None, d) for d in rule.dilation))] = given
        first = tuple(-low for low, _ in rule.padding)
        return cls(weight, np.zeros_like(weight), first, rule.stride, rule.groups)

    @classmethod
    def identity(cls, shape: Shape) -> Kernel:
        ones = np.ones((shape[0], 1, *[1] * (len(shape) - 1)))
        axes = len(shape) - 1
        return cls(ones, np.zeros_like(ones), (0,) * axes, (1,) * axes, shape[0])

    def times(self, factors: Array) -> Kernel:
        """With every channel that it makes times its factor, which may have been rounded a few times itself."""
        column = np.broadcast_to(factors, (len(self.weight),)).reshape(-1, *[1] * (self.weight.ndim - 1))
        made = self.weight * column
        power = np.abs(np.frexp(column)[0]) == 0.5  # of two, such as a sign
        exact = (self.weight == 0) | (column == 0) | (power & (np.abs(made) > 2.0**-1000))
        rounded = np.where(exact, 0.0, 6 * UNIT * np.abs(made) + 2.0**-1070)
        error = self.error * np.abs(column) * (1 + 4 * UNIT) + rounded
        return replace(self, weight=made, error=error)

    def plus(self, other: Kernel, sign: float) -> Kernel:
        """Their sum, or their difference. Raises `NotApplicable`."""
        if self.stride != other.stride or len(self.weight) != len(other.weight):
            raise NotApplicable("their strides differ")
        groups = math.gcd(self.groups, other.groups)
        first = tuple(map(min, self.first, other.first))
        last = tuple(map(max, self.last(), other.last()))
        a, b = (kernel.within(first, last, groups) for kernel in (self, other))
        weight = a.weight + sign * b.weight
        rest = weight - a.weight  # what the addition lost, exactly (Knuth)
        lost = np.abs((a.weight - (weight - rest)) + (sign * b.weight - rest))
        return Kernel(weight, (a.error + b.error + lost) * (1 + 4 * UNIT), first, self.stride, groups)

    def last(self) -> tuple[int, ...]:
        """Where its taps end."""
        return tuple(place + taps for place, taps in zip(self.first, self.weight.shape[2:], strict=True))

    def within(self, first: tuple[int, ...], last: tuple[int, ...], groups: int) -> Kernel:
        """The same with zeros around it, in fewer groups. Raises `NotApplicable`."""
        spans = zip(self.first, first, last, self.last(), strict=True)
        around = [(0, 0), (0, 0), *((own - low, high - end) for own, low, high, end in spans)]
        if math.prod(n + sum(pads) for n, pads in zip(self.weight.shape, around, strict=True)) > MOST_ENTRIES:
            raise NotApplicable("their kernel would be too large")
        weight, error = (_grouped(np.pad(part, around), self.groups, groups) for part in (self.weight, self.error))
        return Kernel(weight, error, first, self.stride, groups)

    def rule(self, size: tuple[int, ...], made: tuple[int, ...]) -> Convolution:
        """The convolution of inputs of this size that makes outputs of that. Raises `NotApplicable`."""
        first = tuple(min(0, low) for low in self.first)
        ends = zip(self.last(), size, made, self.stride, strict=True)
        last = tuple(max(end, n - (o - 1) * s) for end, n, o, s in ends)  # padding is never negative
        kernel = self.within(first, last, self.groups)
        axes = zip(first, last, size, made, self.stride, strict=True)
        padding = tuple((-low, end + (o - 1) * s - n) for low, end, n, o, s in axes)
        return Convolution(kernel.weight, size, self.stride, padding, (1,) * len(size), self.groups)

    def lost(self) -> float:
        """A bound on the norm of what rounding moved it by, and on that of each of its Fourier blocks."""
        return _moduli(self.error)

    def is_plain(self) -> bool:
        """Whether that is no more than where each weight was rounded a few times, which bounds allow for."""
        return self.lost() * (1 + 2.0**-20) <= ROUNDINGS * UNIT * _moduli(self.weight)


def summed(graph: Graph, end: Node, maker: Mapping[str, Node]) -> Iterator[tuple[str, list[Node], Kernel]]:
    """How a node is one convolution of an earlier activation: that, the nodes between, in no order, and the kernel."""
    rule = end.operator.lipschitz(*graph.input_shapes(end))
    if not (isinstance(rule, Sum) and len(end.inputs) > 1 and len(graph.shapes[end.output]) > 1):
        return
    for source in _sources(graph, end, maker):
        members: dict[str, Node] = {}
        try:
            kernel = _kernel(graph, end.output, source, maker, members)
        except NotApplicable:
            continue
        yield source, list(members.values()), kernel


def _sources(graph: Graph, end: Node, maker: Mapping[str, Node]) -> list[str]:
    """The inputs of the convolutions that are added up; none: no names."""
    found, seen, reads = list[str](), {end.output}, list(end.inputs)
    while reads and len(seen) <= MOST_NODES:
        name = reads.pop()
        node = maker.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if _convolution(graph, node) is not None:
            found.append(node.inputs[0])
        elif _adds(graph, node) or (len(node.inputs) == 1 and per_channel(graph, node) is not None):
            reads += node.inputs
    return list(dict.fromkeys(found))


def _convolution(graph: Graph, node: Node) -> Convolution | None:
    shapes = graph.input_shapes(node)
    rule = node.operator.lipschitz(*shapes)
    return rule if isinstance(rule, Convolution) else node.operator.convolution(*shapes)


def _adds(graph: Graph, node: Node) -> Sum | None:
    """The signs with which it adds activations of one shape."""
    rule = node.operator.lipschitz(*graph.input_shapes(node))
    same = {graph.shapes[node.output]} == {graph.shapes[name] for name in node.inputs}
    fits = isinstance(rule, Sum) and rule.exact and len(node.inputs) > 1 and same
    return rule if isinstance(rule, Sum) and fits and all(abs(c) == 1 for c in rule.coefficients) else None


def _kernel(graph: Graph, name: str, source: str, maker: Mapping[str, Node], members: dict[str, Node]) -> Kernel:
    """What an activation is of the source. Raises `NotApplicable`."""
    if name == source:
        return Kernel.identity(graph.shapes[source])
    node = maker.get(name)
    if node is None or len(members) > MOST_NODES:
        raise NotApplicable("it is not made of the source")
    members[name] = node
    rule = _convolution(graph, node)
    if rule is not None and node.inputs == (source,):
        # of an average, whose weights are no numbers of the file, each was rounded
        kernel = Kernel.of(rule)
        named = isinstance(node.operator.lipschitz(*graph.input_shapes(node)), Convolution)
        return kernel if named else replace(kernel, error=UNIT * np.abs(kernel.weight))
    if (signs := _adds(graph, node)) is not None:
        parts = [_kernel(graph, read, source, maker, members) for read in node.inputs]
        first = parts[0].times(np.array(signs.coefficients[0]))
        return reduce(lambda a, b: a.plus(b[0], b[1]), zip(parts[1:], signs.coefficients[1:], strict=True), first)
    factors = per_channel(graph, node) if len(node.inputs) == 1 else None
    if factors is None:
        raise NotApplicable(f"{node.operator.name} is neither a sum nor a convolution")
    return _kernel(graph, node.inputs[0], source, maker, members).times(factors)


def _zeros(shape: Sequence[int]) -> Array:
    if math.prod(shape) > MOST_ENTRIES:
        raise NotApplicable("their kernel would be too large")
    return np.zeros(shape)


def _grouped(weight: Array, groups: int, fewer: int) -> Array:
    """The same in fewer groups, of which each has whole ones."""
    if groups == fewer:
        return weight
    each, (out, inner, *taps) = groups // fewer, weight.shape
    made = _zeros((fewer, each, out // groups, each, inner, *taps))
    for i in range(each):
        made[:, i, :, i] = weight.reshape(fewer, each, out // groups, inner, *taps)[:, i]
    return made.reshape(out, each * inner, *taps)


def _moduli(weight: Array) -> float:
    """The Frobenius norm of the sums over taps of moduli, rounded up: no frequency's block has a larger norm."""
    sums = np.abs(weight).reshape(*weight.shape[:2], -1).sum(axis=2)
    return up(float(np.linalg.norm(sums)) * (1 + gamma(weight.size + 16)))
