"""A network as local bounds see it: each node linear, a function of every entry, a choice, or a product of two."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from radii.graph import Graph, Node, Obstacle, Obstructed, undecorated, with_cones
from radii.graph.applicability import LARGEST_LOCAL
from radii.graph.cone.expression import evaluate, is_scalar
from radii.graph.cone.find import Cone
from radii.graph.cone.jet import Jet
from radii.graph.operator import Operator, Shape
from radii.graph.ops.conv import Conv
from radii.graph.ops.elementwise import Mul
from radii.lipschitz.network.choices import with_extremes
from radii.local.rewritten import rewritten
from radii.local.slack import gamma

SMALL = 2**19  # entries of a matrix that takes a convolution's place
FEWER = 8  # times as many products one matrix takes in the time of convolutions


class NotRelaxable(Obstructed):
    """Nodes have no lines on an interval. ``obstacles`` lists all of them."""

    words: ClassVar[str] = "has no local bounds"


@dataclass(frozen=True, eq=False)
class Step:
    """A node, its constants as float64 tensors."""

    node: Node
    inputs: tuple[Shape, ...]
    shape: Shape
    arrays: Mapping[str, Tensor]
    device: torch.device

    @property
    def operator(self) -> Operator:
        return self.node.operator

    @cached_property
    def loss(self) -> float:
        """What a sum of products in it loses, relatively: forward, backward, and in between."""
        return gamma(math.prod(self.shape) + sum(map(math.prod, self.inputs)))

    @cached_property
    def offset(self) -> Tensor:
        """(1, *shape): what a linear node makes of zeros, exact but for `loss`."""
        return self.operator.run(self._zeros(), self.arrays)

    @cached_property
    def has_offset(self) -> bool:
        """Whether any of it is not 0."""
        return bool(self.offset.any())

    @cached_property
    def offset_size(self) -> Tensor:
        """(1, *shape) its absolute values."""
        return self.magnitude(self._zeros())

    @cached_property
    def is_linear(self) -> bool:
        """Whether it is linear in all of its inputs together, but for a constant."""
        if type(self.operator).magnitude is Operator.magnitude:  # which needs not be computed to be known
            return self.operator.is_affine(len(self.inputs))
        return self.operator.magnitude(self._zeros(), self.arrays) is not None

    @cached_property
    def curve(self) -> Callable[[Jet], Jet] | None:
        """The function that it is at every entry; None: it is no such one."""
        operator = self.operator
        if isinstance(operator, Cone):
            return lambda x: evaluate(operator.steps, x)
        alone = len(self.node.inputs) == 1 and is_scalar(operator) and not operator.takes_decisions
        if not alone or self.inputs[0] != self.shape:
            return None

        def made(x: Jet) -> Jet:
            found = operator.on_cells(x)
            return found if isinstance(found, Jet) else found.between(x.constant(1.0), x.constant(0.0))

        return made

    @cached_property
    def sides(self) -> tuple[Tensor, Tensor] | None:
        """The slopes of a function that is linear on both sides of 0; None: it is no such one."""
        found = self.operator.sides(self.arrays)
        if found is None:
            return None
        left, right = (torch.as_tensor(side, dtype=torch.float64, device=self.device) for side in found)
        return left, right

    @property
    def is_product(self) -> bool:
        """Whether it multiplies two activations entry by entry."""
        return isinstance(self.operator, Mul) and len(self.node.inputs) == 2

    @property
    def known(self) -> bool:
        """Whether there are lines for it."""
        return (
            self.is_linear or self.sides is not None or bool(self.operator.picks) or self.is_product or bool(self.curve)
        )

    def magnitude(self, inputs: Sequence[Tensor]) -> Tensor:
        """``sum |W| m + |b|`` of a linear node, as computed."""
        made = self.operator.magnitude(inputs, self.arrays)
        assert made is not None
        return made

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds a sample."""
        return self.operator.multiply_adds(*self.inputs)

    @cached_property
    def matrix(self) -> Tensor | None:
        """(outputs, inputs) of a small convolution, of which one product takes less time than many convolutions do;
        every entry is one of its weights, or 0."""
        if not isinstance(self.operator, Conv):
            return None
        size, width = math.prod(self.shape), math.prod(self.inputs[0])
        if size * width > min(SMALL, FEWER * self.multiply_adds):
            return None
        eye = torch.eye(size, dtype=torch.float64, device=self.device).reshape(size, *self.shape)
        [made] = self.operator.transposed(eye, self.arrays, *self.inputs)
        return None if made is None else made.reshape(size, width)

    def transposed(self, forms: Tensor) -> tuple[Tensor | None, ...]:
        """Forms (N, R, *shape) on its output as forms on its inputs."""
        n, rows = forms.shape[:2]
        if self.matrix is not None:
            return ((forms.flatten(2) @ self.matrix).reshape(n, rows, *self.inputs[0]),)
        made = self.operator.transposed(forms.flatten(0, 1), self.arrays, *self.inputs)
        return tuple(None if form is None else form.reshape(n, rows, *form.shape[1:]) for form in made)

    def _zeros(self) -> list[Tensor]:
        return [torch.zeros((1, *shape), dtype=torch.float64, device=self.device) for shape in self.inputs]


@dataclass(frozen=True, eq=False)
class Network:
    """The steps of a classifier without the end that keeps the order of its classes."""

    graph: Graph  # whose outputs are the logits that are bounded
    relaxed: Graph  # the same function, as it is bounded
    steps: tuple[Step, ...]
    device: torch.device
    kept: dict[tuple[str, str], Any] = field(default_factory=dict)  # what was found of nodes, and no eps changes

    @classmethod
    def of(cls, graph: Graph, device: torch.device | str = "cpu") -> Network:
        """Raises `NotRelaxable` where a node has no rule, on the device "meta" without a copy of any weight."""
        device = torch.device(device)
        plain = undecorated(graph)
        relaxed = rewritten(with_cones(with_extremes(plain)))
        steps = tuple(
            Step(node, relaxed.input_shapes(node), relaxed.shapes[node.output], _tensors(node, device), device)
            for node in relaxed.nodes
        )
        found = [obstacle for step in steps if (obstacle := _obstacle(step))]
        if found:
            raise NotRelaxable(found)
        return cls(plain, relaxed, steps, device)

    @cached_property
    def position(self) -> dict[str, int]:
        """The step that makes each activation."""
        return {step.node.output: i for i, step in enumerate(self.steps)}

    @cached_property
    def bent(self) -> frozenset[str]:
        """The activations, but for the input, that are read by what is not linear."""
        read = {name for step in self.steps if not step.is_linear for name in step.node.inputs}
        return frozenset(read - {self.relaxed.input})

    @property
    def hinges(self) -> int:
        """How many entries are linear on both sides of 0."""
        return sum(math.prod(step.shape) for step in self.steps if step.sides is not None)

    @cached_property
    def affine(self) -> frozenset[str]:
        """The activations that are linear in the input, but for a constant."""
        found = {self.relaxed.input}
        for step in self.steps:
            if step.is_linear and found.issuperset(step.node.inputs):
                found.add(step.node.output)
        return frozenset(found)


def _tensors(node: Node, device: torch.device) -> dict[str, Tensor]:
    def stored(array: np.ndarray) -> Tensor:
        dtype = np.dtype(np.float64) if array.dtype.kind == "f" else array.dtype
        if device.type == "meta":
            return torch.empty(array.shape, dtype=torch.from_numpy(np.empty(0, dtype)).dtype, device=device)
        return torch.from_numpy(np.array(array, dtype=dtype)).to(device)

    return {name: stored(array) for name, array in node.operator.arrays().items()}


def _obstacle(step: Step) -> Obstacle | None:
    node, operator = step.node, step.operator
    if math.prod(step.shape) > LARGEST_LOCAL:
        return Obstacle(node.index, operator.name, "its output has too many entries to be bounded", "Use smoothing")
    if not all(np.isfinite(array).all() for array in operator.arrays().values()):
        return Obstacle(node.index, operator.name, "a constant is not finite", "Export the model again")
    if step.known:
        return None
    remedy = "Use smoothing, or `lipschitz` where it applies"
    return Obstacle(node.index, operator.name, "local bounds have no lines for it", remedy)
