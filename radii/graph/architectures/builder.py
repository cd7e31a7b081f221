"""Layers one behind the other, their tensors taken by name; what is wrong with the tensors is gathered, not raised."""

from math import prod

import numpy as np

from radii.graph.admission import admit
from radii.graph.errors import Obstacle, Refusal, UnsupportedModel, hold
from radii.graph.ir import Graph, Node
from radii.graph.limits import Limits
from radii.graph.operator import Operator, Shape
from radii.graph.ops.activation import Gelu, Relu, Sigmoid, Tanh
from radii.graph.ops.conv import Conv
from radii.graph.ops.elementwise import Add, Mul
from radii.graph.ops.layout import Reshape, Transpose
from radii.graph.ops.linear import Gemm, MatMul
from radii.graph.ops.normalization import BatchNormalization, LayerNormalization
from radii.graph.ops.pool import AveragePool, GlobalAveragePool, MaxPool
from radii.graph.ops.windows import Windows
from radii.graph.remedies import quoted

COMPARE = "Compare the parameters with the network that wrote the file (docs/architectures.md has the names)"
COUNTER = ".num_batches_tracked"  # of BatchNorm in training; without effect in eval mode


class Builder:
    """A graph in the making. ``at`` is the value that the next layer reads; layers return the value they make."""

    def __init__(self, tensors: dict[str, np.ndarray], input_shape: Shape, limits: Limits) -> None:
        self.tensors = {name: array for name, array in tensors.items() if not name.endswith(COUNTER)}
        self.limits = limits
        self.at = self.input = "input"
        self.shapes: dict[str, Shape] = {self.input: input_shape}
        self.nodes: list[Node] = []
        self.obstacles: list[Obstacle] = []

    @property
    def shape(self) -> Shape:
        """The shape a sample of the value at hand."""
        return self.shapes[self.at]

    def graph(self) -> Graph:
        """The finished graph. Raises `UnsupportedModel` if a tensor was wrong, or nobody took it."""
        for name in self.tensors:
            self._wrong(f"the tensor {quoted(name)} belongs to no layer of this architecture")
        if self.obstacles:
            raise UnsupportedModel(self.obstacles)
        return Graph.build(self.input, self.shapes[self.input], self.at, self.nodes)

    def tensor(self, name: str, *shape: int) -> np.ndarray:
        """The tensor of that name; where it can't be had, an obstacle is noted and zeros (of no memory) stand in."""
        self.limits.check_tensor(shape)
        array = self.tensors.pop(name, None)
        if array is None:
            self._wrong(f"the tensor {quoted(name)} of shape {list(shape)} is missing")
        elif array.shape != shape:
            self._wrong(f"the tensor {quoted(name)} has shape {list(array.shape)}, not {list(shape)}")
        elif array.dtype.kind != "f":
            self._wrong(f"the tensor {quoted(name)} is {array.dtype}, not of floats")
        elif not np.isfinite(array).all():
            self._wrong(f"the tensor {quoted(name)} holds infinity or NaN", "Train the model again, or repair it")
        else:
            return array
        return np.broadcast_to(np.float32(0), shape)

    def _wrong(self, reason: str, remedy: str = COMPARE) -> None:
        self.obstacles.append(Obstacle(None, "", reason, remedy))

    def add(self, operator: Operator, label: str, *inputs: str) -> str:
        """Put an operator behind ``inputs`` (none: the value at hand), which makes the new value at hand."""
        sources = inputs or (self.at,)
        given = [self.shapes[source] for source in sources]
        index = len(self.nodes)
        try:
            hold(index < self.limits.nodes, "the network is over the limits", "Use a smaller model")
            shape = admit(operator, given, self.limits)
        except Refusal as refusal:
            shapes = " and ".join(map(str, map(list, given)))
            raise Refusal(f"{label}, on values of shapes {shapes}: {refusal.reason}", COMPARE) from None
        self.at = f"value{index}"
        self.shapes[self.at] = shape
        self.nodes.append(Node(operator, sources, self.at, index, label))
        return self.at

    # Layers, named like their modules in torch

    def conv(
        self, name: str, channels: int, kernel: int, *, stride: int = 1, padding: int = 0, groups: int = 1, bias: bool
    ) -> str:
        if len(self.shape) != 3:
            raise Refusal(f"{name}: an input of shape {list(self.shape)} is no image", "Declare input.shape [C, H, W]")
        weight = self.tensor(f"{name}.weight", channels, self.shape[0] // groups, kernel, kernel)
        offset = self.tensor(f"{name}.bias", channels) if bias else None
        windows = Windows((kernel,) * 2, (stride,) * 2, (1, 1), ((padding,) * 2,) * 2)
        return self.add(Conv(weight, offset, windows, groups), name)

    def linear(self, name: str, units: int) -> str:
        weight = self.tensor(f"{name}.weight", units, self.shape[-1])
        bias = self.tensor(f"{name}.bias", units)
        return self.add((Gemm if len(self.shape) == 1 else MatMul)(weight, bias), name)

    def batch_norm(self, name: str) -> str:
        parts = ("weight", "bias", "running_mean", "running_var")
        gamma, beta, mean, var = (self.tensor(f"{name}.{part}", self.shape[0]).astype(np.float64) for part in parts)
        if not np.all(var + 1e-5 > 0):
            self._wrong(f"the tensor {quoted(name + '.running_var')} holds a negative variance")
            var = np.ones_like(var)
        scale = gamma / np.sqrt(var + 1e-5)
        return self.add(BatchNormalization(scale, beta - mean * scale), name)

    def layer_norm(self, name: str) -> str:
        """Over the last axis, with ConvNeXt's epsilon."""
        units = self.shape[-1]
        scale, bias = self.tensor(f"{name}.weight", units), self.tensor(f"{name}.bias", units)
        return self.add(LayerNormalization(scale, bias, len(self.shape) - 1, 1e-6), name)

    def activation(self, kind: str) -> str:
        if kind == "silu":
            x = self.at
            return self.add(Mul(), kind, x, self.add(Sigmoid(), kind))
        return self.add({"relu": Relu(), "gelu": Gelu(), "tanh": Tanh()}[kind], kind)

    def scale(self, name: str) -> str:
        """A factor a channel."""
        return self.add(Mul(self.tensor(name, self.shape[0], 1, 1)), name)

    def plus(self, other: str) -> str:
        return self.add(Add(), "add", self.at, other)

    def max_pool(self, kernel: int, stride: int, padding: int = 0) -> str:
        return self.add(MaxPool(Windows((kernel,) * 2, (stride,) * 2, (1, 1), ((padding,) * 2,) * 2)), "max pool")

    def average_pool(self, size: int) -> str:
        """``AdaptiveAvgPool2d(size)``, where its windows are all of one size."""
        height, width = self.shape[1:]
        if height % size or width % size:
            raise Refusal(
                f"features of {height} by {width} can't be pooled to {size} by {size}", f"Set pool to fit: {COMPARE}"
            )
        kernel = (height // size, width // size)
        windows = Windows(kernel, kernel, (1, 1), ((0, 0), (0, 0)))
        return self.at if kernel == (1, 1) else self.add(AveragePool(windows, include_pad=False), "average pool")

    def mean(self) -> str:
        """The mean over the pixels, (channels,)."""
        self.add(GlobalAveragePool(), "mean")
        return self.flatten()

    def flatten(self) -> str:
        return self.at if len(self.shape) == 1 else self.add(Reshape((prod(self.shape),)), "flatten")

    def permute(self, *axes: int) -> str:
        return self.add(Transpose(axes), "permute")
