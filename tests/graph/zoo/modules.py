"""That a network's module is a plain one: gradients a sample, torch.compile, and bfloat16, held against its values."""

import torch
from torch import Tensor

from radii.graph import Graph, to_module
from tests.graph.cuda import gap, logits_and_gradient, weighted
from tests.graph.rounding import bfloat16_errors


def inputs(graph: Graph) -> Tensor:
    return torch.randn(3, *graph.input_shape, generator=torch.Generator().manual_seed(6)).double()


def check_gradients(graph: Graph) -> None:
    """vmap of the gradient is the gradient of one sample after the other."""
    module, x = to_module(graph, dtype=torch.float64), inputs(graph)
    at_once = torch.func.vmap(torch.func.grad(lambda row: weighted(module(row[None]))))(x)
    one_by_one = torch.cat([logits_and_gradient(module, row[None])[1] for row in x])
    assert gap(at_once, one_by_one) < 1e-9


def check_bfloat16(graph: Graph) -> None:
    """It loses what its format says: between an eighth of the model of `tests.graph.rounding` and twice as much."""
    found, expected = bfloat16_errors(graph, inputs(graph))
    assert expected / 8 < found < 2 * expected


def check_traced(graph: Graph) -> None:
    """torch.compile makes one graph of it, and one of its derivative, with the same numbers."""
    module, x = to_module(graph, dtype=torch.float64), inputs(graph)
    torch._dynamo.reset()
    traced = torch.compile(module, backend="aot_eager", fullgraph=True)
    for found, expected in zip(logits_and_gradient(traced, x), logits_and_gradient(module, x), strict=True):
        assert gap(found, expected) < 1e-12
