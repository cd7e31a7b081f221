"""Small random classifiers as graphs, of layers that have a margin worth bounding."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch

from radii.graph import Graph, Node, to_module
from radii.graph.operator import Operator
from radii.graph.ops.activation import Relu, Sigmoid
from radii.graph.ops.conv import Conv
from radii.graph.ops.elementwise import Add, Mul
from radii.graph.ops.layout import Reshape, Transpose
from radii.graph.ops.linear import Linear, Product
from radii.graph.ops.normalization import LayerNormalization, Softmax
from radii.graph.ops.pool import AveragePool, MaxPool
from radii.graph.ops.reduce import ReduceMean
from radii.graph.ops.select import Concat
from radii.graph.ops.windows import Windows

Made = Sequence[tuple[Operator, tuple[str, ...], str]]


def graph_of(shape: tuple[int, ...], nodes: Made) -> Graph:
    """Operators, each with what it reads and what it makes; the input is "x"."""
    listed = [Node(operator, inputs, output, i) for i, (operator, inputs, output) in enumerate(nodes)]
    return Graph.build("x", shape, nodes[-1][2], listed)


def linear(rng: np.random.Generator, n: int, m: int, scale: float = 1.0) -> Linear:
    weight = rng.standard_normal((m, n)) * scale / np.sqrt(n)
    return Linear(weight.astype(np.float32), (rng.standard_normal(m) * 0.3 * scale).astype(np.float32))


def chain(rng: np.random.Generator, sizes: Sequence[int], made: Callable[[], Operator] = Relu) -> Graph:
    """Dense layers with a function between them."""
    nodes: list[tuple[Operator, tuple[str, ...], str]] = []
    name = "x"
    for i, (n, m) in enumerate(pairwise(sizes)):
        nodes.append((linear(rng, n, m), (name,), f"z{i}"))
        name = f"z{i}"
        if i < len(sizes) - 2:
            nodes.append((made(), (name,), f"a{i}"))
            name = f"a{i}"
    return graph_of((sizes[0],), nodes)


def image(rng: np.random.Generator) -> Graph:
    """Two convolutions around a residual sum, a maximum and a mean over windows, a concatenation, a dense layer."""

    def conv(c: int, k: int) -> Conv:
        weight = rng.standard_normal((k, c, 3, 3)).astype(np.float32) / np.sqrt(9 * c)
        bias = (rng.standard_normal(k) * 0.2).astype(np.float32)
        return Conv(weight, bias, Windows((3, 3), (1, 1), (1, 1), ((1, 1), (1, 1))), 1)

    halves = Windows((2, 2), (2, 2), (1, 1), ((0, 0), (0, 0)))
    return graph_of(
        (2, 6, 6),
        [
            (conv(2, 4), ("x",), "a"),
            (Relu(), ("a",), "b"),
            (conv(4, 4), ("b",), "c"),
            (Add(), ("b", "c"), "d"),
            (Relu(), ("d",), "e"),
            (MaxPool(halves), ("e",), "f"),
            (AveragePool(halves, False), ("d",), "g"),
            (Concat(0), ("f", "g"), "h"),
            (Reshape((72,)), ("h",), "i"),
            (linear(rng, 72, 4), ("i",), "j"),
        ],
    )


def logits(graph: Graph, x: np.ndarray) -> np.ndarray:
    """(N, classes) in float64."""
    with torch.no_grad():
        return to_module(graph, dtype=torch.float64)(torch.from_numpy(x)).numpy()


def settled(graph: Graph, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The inputs of clearest margins among some, with their classes."""
    x = rng.standard_normal((8 * count, *graph.input_shape))
    z = np.sort(logits(graph, x), axis=1)
    best = np.argsort(z[:, -2] - z[:, -1])[:count]
    return x[best], logits(graph, x[best]).argmax(1)


def attention(rng: np.random.Generator) -> Graph:
    """One head of attention over three tokens, a residual sum, a layer norm and a gated feed-forward layer."""
    n, d = 3, 4
    scale = np.ones(d, np.float32)
    return graph_of(
        (n, d),
        [
            (linear(rng, d, d), ("x",), "q"),
            (linear(rng, d, d), ("x",), "k"),
            (linear(rng, d, d), ("x",), "v"),
            (Transpose((1, 0)), ("k",), "t"),
            (Product(), ("q", "t"), "s"),
            (Softmax(1, False), ("s",), "p"),
            (Product(), ("p", "v"), "o"),
            (Add(), ("x", "o"), "r"),
            (LayerNormalization(scale, None, 1, 0.1), ("r",), "n"),
            (linear(rng, d, d), ("n",), "f"),
            (Sigmoid(), ("f",), "g"),
            (Mul(), ("n", "g"), "h"),
            (ReduceMean((0,), False), ("h",), "m"),
            (linear(rng, d, 3, 2.0), ("m",), "y"),
        ],
    )
