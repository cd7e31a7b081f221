"""A graph as a torch module: buffers and a loop, no generated code."""

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from radii.graph.ir import Graph


class GraphModule(nn.Module):
    """Runs a `Graph` on inputs (batch, *input_shape), giving logits (batch, num_classes).

    An activation is dropped as soon as nothing reads it any more. There is nothing to train: constants are buffers.
    """

    def __init__(self, graph: Graph, dtype: torch.dtype) -> None:
        super().__init__()
        self.graph = graph
        self._done = graph.last_uses()
        self._arrays = [
            tuple((name, f"{name}_{i}") for name in node.operator.arrays()) for i, node in enumerate(graph.nodes)
        ]
        for i, node in enumerate(graph.nodes):
            for name, array in node.operator.arrays().items():
                tensor = torch.from_numpy(np.array(array, order="C"))  # a copy, its layout that of no file
                self.register_buffer(f"{name}_{i}", tensor.to(dtype) if array.dtype.kind == "f" else tensor)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        graph = self.graph
        if tuple(x.shape[1:]) != graph.input_shape:
            raise ValueError(f"inputs have the shape (batch, *{graph.input_shape}), not {tuple(x.shape)}")
        values = {graph.input: x}
        del x
        buffers = cast(dict[str, Tensor], self._buffers)  # not by getattr, which takes a microsecond each
        for node, names, done in zip(graph.nodes, self._arrays, self._done, strict=True):
            arrays = {name: buffers[key] for name, key in names}
            values[node.output] = node.operator.run([values[name] for name in node.inputs], arrays)
            for name in done:
                del values[name]
        return values[graph.output]


def to_module(graph: Graph, *, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The graph as a module in ``dtype``: float32 to run fast, float64 where a margin enters a certificate."""
    return GraphModule(graph, dtype)
