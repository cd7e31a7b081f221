"""The mean loss of a classifier over a data set, as a function of its weights in one vector.

Everything runs in float64, on the network as it is in evaluation: BatchNorm by its stored statistics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call

from radii.diagnostics.errors import ConstantNetwork, InTraining, NoLabels, NonFiniteLoss, NoWeights, OneClass
from radii.graph import Graph, to_module, undecorated
from radii.graph.module import GraphModule
from radii.graph.rules import Convolution, Dense, Matrices
from radii.lipschitz.rounding import NonFiniteWeights

BATCH = 256  # inputs that the network sees at a time
MOST_EXPLICIT = 2**26  # entries of an explicit Hessian: half a gigabyte

Network = Graph | nn.Module


def module_of(network: Network) -> nn.Module:
    """The network as a module that gives logits; of a graph without the end that only names classes (a softmax).

    Raises `InTraining`.
    """
    module = to_module(undecorated(network), dtype=torch.float64) if isinstance(network, Graph) else network
    if any(part.training for part in module.modules()):
        raise InTraining("the network is in training mode: call network.eval() first")
    return module


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """The weights by name, float64: a module's floating parameters; of a graph what its dense layers, convolutions and
    normalisations by stored statistics multiply by and add, the file's own constants aside.

    Raises `NoWeights` where there are none, `NonFiniteWeights` where one is NaN or infinite.
    """
    found = _of_graph(module) if isinstance(module, GraphModule) else dict(module.named_parameters())
    weights = doubled({name: value for name, value in found.items() if value.is_floating_point()})
    if not weights:
        raise NoWeights("the network has no weights")
    for name, value in weights.items():
        if not bool(value.isfinite().all()):
            raise NonFiniteWeights(f"some of the weights {name} are NaN or infinite")
    return weights


def _of_graph(module: GraphModule) -> dict[str, Tensor]:
    buffers, names = dict(module.named_buffers()), []
    for i, node in enumerate(module.graph.nodes):
        operator = node.operator
        rule = operator.lipschitz(*module.graph.input_shapes(node))
        learned = isinstance(rule, Dense | Matrices | Convolution) or (operator.diagonal and operator.adds)
        if learned and node.index >= 0:
            names += [f"{name}_{i}" for name, array in operator.arrays().items() if array.size > 1]
    return {name: buffers[name] for name in names}


def in_float64(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """The module's function, evaluated in float64; the module stays as it is."""
    state = doubled(dict(module.named_parameters()) | dict(module.named_buffers()))

    def logits(x: Tensor) -> Tensor:
        made: Tensor = functional_call(module, state, (x,))
        return made

    return logits


def doubled(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Floating tensors in float64, and all of them detached and on the CPU."""
    moved = {name: value.detach().cpu() for name, value in state.items()}  # first: not every device has float64
    return {name: value.double() if value.is_floating_point() else value for name, value in moved.items()}


def check_outputs(x: Tensor, logits: Tensor) -> None:
    """Raises `ConstantNetwork` where different inputs all have the same answer."""
    if bool((logits == logits[0]).all()) and not bool((x == x[0]).all()):
        raise ConstantNetwork("the network answers the same to all inputs")


def checked_labels(y: npt.ArrayLike | Tensor | None, count: int, classes: int) -> Tensor:
    """(N,) labels. Raises `NoLabels`, `OneClass`, or ValueError where they don't fit."""
    if classes < 2:
        raise OneClass("the network has one output, so its loss is 0 whatever the weights")
    if y is None:
        raise NoLabels("the inputs have no labels")
    labels = torch.as_tensor(y).cpu()
    if labels.shape != (count,) or labels.is_floating_point():
        raise ValueError(f"one integer label an input is needed: {tuple(labels.shape)} for {count} inputs")
    if count and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(f"labels must lie from 0 to {classes - 1}")
    return labels.long()


class Objective:
    """``L(w)``: the mean softmax cross-entropy over (N, *shape) inputs, of the network with weights ``w``, (n,).

    Args:
        network: a graph, or a module in evaluation mode that gives logits (N, K).
        y: (N,) integer labels.

    Raises:
        CannotDiagnose: see :mod:`radii.diagnostics.errors`.
        NonFiniteWeights: a weight is NaN or infinite.
        ValueError: shapes do not fit.
    """

    def __init__(
        self, network: Network, x: npt.ArrayLike | Tensor, y: npt.ArrayLike | Tensor | None, *, batch_size: int = BATCH
    ) -> None:
        self.module = module_of(network)
        weights = weights_of(self.module)
        self.names = tuple(weights)
        self.shapes = tuple(value.shape for value in weights.values())
        self.point = torch.cat([value.reshape(-1) for value in weights.values()])
        everything = dict(self.module.named_parameters()) | dict(self.module.named_buffers())
        self._fixed = doubled({name: value for name, value in everything.items() if name not in weights})
        self.x = torch.as_tensor(x).cpu().double()
        if not len(self.x):
            raise ValueError("there are no inputs")
        self.batch_size = batch_size
        self.products = 0
        with torch.no_grad():
            logits = torch.cat([self.logits(self.point, x) for x in torch.split(self.x, batch_size)])
        self.y = checked_labels(y, len(self.x), logits.shape[1])
        loss = float(nn.functional.cross_entropy(logits, self.y))
        if not math.isfinite(loss):
            raise NonFiniteLoss(f"the loss is {loss}")
        check_outputs(self.x, logits)
        self.value, self.outputs = loss, logits

    @property
    def size(self) -> int:
        """n, the number of weights."""
        return self.point.numel()

    @property
    def labels(self) -> dict[str, str]:
        """What people call the weights of each name: of a graph by the node in the file."""
        if not isinstance(self.module, GraphModule):
            return {name: name for name in self.names}
        parts = {name: name.rpartition("_") for name in self.names}
        nodes = {name: self.module.graph.nodes[int(place)] for name, (_, _, place) in parts.items()}
        return {name: f"{nodes[name].index} {nodes[name].operator.name} {parts[name][0]}" for name in self.names}

    @property
    def slices(self) -> dict[str, slice]:
        """Where the weights of each name lie in the vector."""
        ends = torch.tensor([0, *(shape.numel() for shape in self.shapes)]).cumsum(0).tolist()
        return {name: slice(start, end) for name, start, end in zip(self.names, ends, ends[1:], strict=False)}

    def split(self, vector: Tensor) -> dict[str, Tensor]:
        """(n,) as weights by name."""
        parts = torch.split(vector, [shape.numel() for shape in self.shapes])
        return {name: part.view(shape) for name, part, shape in zip(self.names, parts, self.shapes, strict=True)}

    def logits(self, weights: Tensor | Mapping[str, Tensor], x: Tensor) -> Tensor:
        """(N, K) with other weights."""
        named = self.split(weights) if isinstance(weights, Tensor) else weights
        made: Tensor = functional_call(self.module, {**self._fixed, **named}, (x,))
        return made

    def loss(self, weights: Tensor) -> float:
        """``L(w)``."""
        with torch.no_grad():
            return sum(float(self._part(weights, x, y)) for x, y in self._batches())

    def gradient(self, chosen: Tensor | None = None) -> Tensor:
        """(n,) the gradient at the network's own weights; of the mean over chosen inputs alone, some perhaps twice."""
        everything = torch.arange(len(self.x)) if chosen is None else chosen
        total = torch.zeros_like(self.point)
        for part in torch.split(everything, self.batch_size):
            total += _flat(self._slope(self.x[part], self.y[part], create_graph=False)[1])
        return total * (len(self.x) / len(everything))

    def sample_gradients(self) -> Iterator[Tensor]:
        """(n,) the gradient of each input's own loss, one after the other."""
        for x, y in zip(torch.split(self.x, 1), torch.split(self.y, 1), strict=True):
            yield _flat(self._slope(x, y, create_graph=False)[1]) * len(self.x)

    def product(self, vector: Tensor) -> Tensor:
        """``H v``, (n,): the Hessian at the network's own weights times a vector."""
        self.products += 1
        total = torch.zeros_like(self.point)
        for leaves, slope in [self._kept] if len(self.x) <= self.batch_size else self._slopes():
            along = torch.autograd.grad(
                _flat(slope), leaves, vector, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            total += _flat(along)
        return total

    def hessian(self) -> Tensor:
        """(n, n) in full, by n products: for small networks. Raises `MemoryError` for others."""
        if self.size**2 > MOST_EXPLICIT:
            raise MemoryError(f"the Hessian of {self.size:,} weights is too large to be written down")
        rows = torch.stack([self.product(unit) for unit in torch.eye(self.size, dtype=torch.float64)])
        return (rows + rows.T) / 2

    @cached_property
    def _kept(self) -> tuple[list[Tensor], list[Tensor]]:
        """The gradient's graph, where all inputs are one batch: a product is then one pass and not three."""
        return next(self._slopes())

    def _slopes(self) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
        return (self._slope(x, y, create_graph=True) for x, y in self._batches())

    def _slope(self, x: Tensor, y: Tensor, *, create_graph: bool) -> tuple[list[Tensor], list[Tensor]]:
        """The weights as leaves, and a batch's part of the gradient."""
        leaves = {name: part.clone().requires_grad_() for name, part in self.split(self.point).items()}
        with torch.enable_grad():
            loss = self._part(leaves, x, y)
            slope = torch.autograd.grad(
                loss, list(leaves.values()), create_graph=create_graph, allow_unused=True, materialize_grads=True
            )
        return list(leaves.values()), list(slope)

    def _part(self, weights: Tensor | Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        """What a batch adds to the mean."""
        total: Tensor = nn.functional.cross_entropy(self.logits(weights, x), y, reduction="sum")
        return total / len(self.x)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(torch.split(self.x, self.batch_size), torch.split(self.y, self.batch_size), strict=True)


def _flat(parts: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])
