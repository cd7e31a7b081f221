"""The largest singular value of a layer as a function of its weights: value, slope and bend.

A layer is a matrix that is linear in its weights E. With the singular triples ``(s_k, u_k, v_k)`` at the weights W:
``s1`` has the slope ``Re u1^H E v1`` along E, and its second derivative ``q(E)`` is never negative, the largest
singular value being convex. Formulas: docs/diagnostics.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.func import functional_call

from radii.diagnostics.errors import ConstantNetwork, TooLarge
from radii.diagnostics.objective import Objective
from radii.graph import Node
from radii.graph.module import GraphModule
from radii.graph.rules import Convolution, Dense, Matrices

MOST_ENTRIES = 2**22  # of a layer's matrix: seconds of a singular value decomposition

Apply = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class LinearLayer:
    """A layer as a matrix that is linear in its weights.

    Attributes:
        name: of the weights, as the objective knows them.
        apply: weights and vectors (B, n) to what the layer makes of them, (B, m), without its bias.
        inputs: n.
        circular: the matrix is one of those that a circular convolution is made of, and complex.
    """

    name: str
    weight: Tensor
    apply: Apply
    inputs: int
    circular: bool = False

    def matrix(self, weight: Tensor) -> Tensor:
        """(m, n) with other weights."""
        dtype = torch.complex128 if self.circular else torch.float64
        with torch.no_grad():
            return self.apply(weight, torch.eye(self.inputs, dtype=dtype)).T

    def norm(self, weight: Tensor) -> float:
        """The largest singular value with other weights."""
        return float(torch.linalg.matrix_norm(self.matrix(weight), 2))

    @cached_property
    def top(self) -> TopSingular:
        return TopSingular(self)


class TopSingular:
    """The largest singular value at a layer's own weights.

    Raises `ConstantNetwork` where it is 0.
    """

    def __init__(self, layer: LinearLayer) -> None:
        self.layer = layer
        u, s, vh = torch.linalg.svd(layer.matrix(layer.weight), full_matrices=False)
        self.u, self.s, self.v = u, s, vh.mH
        self.value = float(s[0])
        if not self.value > 0:
            raise ConstantNetwork(f"the weights {layer.name} are zero, so the logarithm of their norm is not finite")

    @property
    def gap(self) -> float:
        """``(s1 - s2)/s1``; 1 of a single column or row."""
        return 1 - float(self.s[1]) / self.value if len(self.s) > 1 else 1.0

    @cached_property
    def slope(self) -> Tensor:
        """J, of the weights' shape: ``s1`` changes by ``<J, E>``."""
        weight = self.layer.weight.clone().requires_grad_()
        with torch.enable_grad():
            made = self.layer.apply(weight, self.v[:, 0][None])[0]
            (found,) = torch.autograd.grad((self.u[:, 0].conj() * made).sum().real, weight)
        return found

    def along(self, change: Tensor) -> float:
        """``<J, E>``."""
        return float((self.slope * change).sum())

    def bend(self, change: Tensor) -> float:
        """``q(E)``; infinite where the two largest singular values are equal and E couples them."""
        first, s1 = self.v[:, 0].clone().requires_grad_(), self.s[0]
        with torch.enable_grad():
            made = self.layer.apply(change, first[None])[0]  # E v1
            (back,) = torch.autograd.grad((self.u[:, 0].conj() * made).sum().real, first)  # E^H u1
        made = made.detach()
        a, b = self.u.mH @ made, back.conj() @ self.v
        rest = made.abs().square().sum() - a.abs().square().sum() + back.abs().square().sum() - b.abs().square().sum()
        squares, mixed = a[1:].abs().square() + b[1:].abs().square(), (a[1:] * b[1:]).real
        coupled = (s1 * squares + 2 * self.s[1:] * mixed) / (s1.square() - self.s[1:].square())
        turned = a[0].imag.square() if self.layer.circular else 0.0
        return float(coupled.sum() + (rest.clamp(min=0) + turned) / s1)


def circular_blocks(kernel: Tensor, size: tuple[int, ...]) -> Tensor:
    """(out, in, *size): the matrix ``sum_t K[t] exp(-2 pi i f t / n)`` of every frequency of a torus."""
    blocks = kernel.to(torch.complex128)
    for phase in _phases(kernel, size):
        blocks = torch.tensordot(blocks, phase.T, dims=([2], [0]))  # the axis goes to the end
    return blocks


def circular_layer(name: str, kernel: Tensor, size: tuple[int, ...]) -> LinearLayer:
    """A convolution (out, in, *kernel) of stride 1 on a torus, by its block at the frequency where that is largest.

    The frequency with the other sign has the same norm by structure; the block itself knows nothing of that tie.
    """
    norms = torch.linalg.matrix_norm(circular_blocks(kernel, size).flatten(2).permute(2, 0, 1), 2)
    wave = torch.ones((), dtype=torch.complex128)
    for phase, at in zip(_phases(kernel, size), torch.unravel_index(norms.argmax(), size), strict=True):
        wave = torch.tensordot(wave, phase[int(at)], dims=0)

    def apply(weight: Tensor, vectors: Tensor) -> Tensor:
        return vectors @ (weight * wave).flatten(2).sum(2).T

    return LinearLayer(name, kernel, apply, kernel.shape[1], circular=True)


def _phases(kernel: Tensor, size: tuple[int, ...]) -> list[Tensor]:
    """(n, taps) for each axis."""
    return [
        torch.exp(-2j * math.pi * torch.outer(torch.arange(n).double(), torch.arange(taps).double()) / n)
        for n, taps in zip(size, kernel.shape[2:], strict=True)
    ]


def layers_of(objective: Objective) -> list[LinearLayer]:
    """The dense layers and convolutions of an objective's network, in the order in which they run.

    Raises `TooLarge` where a matrix is.
    """
    module = objective.module
    return _of_graph(objective, module) if isinstance(module, GraphModule) else _of_module(objective, module)


def _of_graph(objective: Objective, module: GraphModule) -> list[LinearLayer]:
    weights, found = objective.split(objective.point), []
    for i, node in enumerate(module.graph.nodes):
        name = f"weight_{i}"
        if name not in weights:
            continue
        rule = node.operator.lipschitz(*module.graph.input_shapes(node))
        if isinstance(rule, Dense):
            found.append(dense_layer(name, weights[name]))
        elif isinstance(rule, Convolution | Matrices):
            (shape,) = module.graph.input_shapes(node)
            _check_size(name, math.prod(shape), math.prod(module.graph.shapes[node.output]))
            found.append(LinearLayer(name, weights[name], _node_apply(node, shape), math.prod(shape)))
    return found


def dense_layer(name: str, weight: Tensor) -> LinearLayer:
    """A matrix (m, n)."""
    _check_size(name, *weight.shape)
    return LinearLayer(name, weight, lambda other, vectors: vectors @ other.T, weight.shape[1])


def _node_apply(node: Node, shape: tuple[int, ...]) -> Apply:
    adds = node.operator.adds
    fixed = {
        name: torch.zeros(array.shape, dtype=torch.float64)
        for name, array in node.operator.arrays().items()
        if name == adds
    }

    def apply(weight: Tensor, vectors: Tensor) -> Tensor:
        made = node.operator.run([vectors.reshape(-1, *shape)], fixed | {"weight": weight})
        return made.flatten(1)

    return apply


def _of_module(objective: Objective, module: nn.Module) -> list[LinearLayer]:
    weights, shapes = objective.split(objective.point), dict[str, tuple[int, ...]]()
    parts = {f"{name}.weight" if name else "weight": part for name, part in module.named_modules()}
    linear = {name: part for name, part in parts.items() if name in weights and isinstance(part, LINEAR)}

    def keeper(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def keep(part: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
            shapes.setdefault(name, tuple(given[0].shape[1:]))

        return keep

    hooks = [part.register_forward_hook(keeper(name)) for name, part in linear.items()]
    try:
        with torch.no_grad():
            objective.logits(objective.point, objective.x[:1])
    finally:
        for hook in hooks:
            hook.remove()
    return [_part_layer(name, linear[name], weights[name], shape) for name, shape in shapes.items()]


LINEAR = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


def _part_layer(name: str, part: nn.Module, weight: Tensor, shape: tuple[int, ...]) -> LinearLayer:
    if isinstance(part, nn.Linear):
        return dense_layer(name, weight)
    if is_circular(part, shape[1:]):
        return circular_layer(name, weight, shape[1:])
    bias = {key: torch.zeros_like(value).double() for key, value in part.named_parameters() if key == "bias"}

    def apply(other: Tensor, vectors: Tensor) -> Tensor:
        made: Tensor = functional_call(part, {"weight": other, **bias}, (vectors.reshape(-1, *shape),))
        return made.flatten(1)

    layer = LinearLayer(name, weight, apply, math.prod(shape))
    with torch.no_grad():
        outputs = apply(weight, torch.zeros((1, layer.inputs), dtype=torch.float64)).numel()
    _check_size(name, layer.inputs, outputs)
    return layer


def is_circular(part: nn.Module, size: tuple[int, ...]) -> bool:
    """Whether it is a circular convolution on its own size, in one group and without gaps."""
    if not isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return False
    once = part.groups == 1 and set(part.stride) == set(part.dilation) == {1} and part.padding_mode == "circular"
    whole = isinstance(part.padding, tuple) and all(
        2 * pad == taps - 1 for pad, taps in zip(part.padding, part.kernel_size, strict=True)
    )
    return once and whole and all(taps <= n for taps, n in zip(part.kernel_size, size, strict=True))


def _check_size(name: str, inputs: int, outputs: int) -> None:
    if inputs * outputs > MOST_ENTRIES:
        raise TooLarge(
            f"the matrix of {name} would have {inputs} x {outputs} entries: ask for the bounds of the checkpoints alone"
        )
