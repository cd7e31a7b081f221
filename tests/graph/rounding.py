"""What bfloat16 does to logits, by a model of it: every weight and every activation is off at random."""

import numpy as np
import torch
from torch import Tensor

from radii.graph import Graph, to_module

ROUNDING = 2.0**-8  # of bfloat16: eight significant bits


def shaken(graph: Graph, x: Tensor, seed: int) -> Tensor:
    """Logits in float64, all that bfloat16 would round (input, weights, outputs of nodes) off by as much as it may."""
    generator = torch.Generator().manual_seed(seed)

    def off(value: Tensor) -> Tensor:
        if not value.is_floating_point():
            return value
        return value * (1 + ROUNDING * (2 * torch.rand(value.shape, generator=generator, dtype=torch.float64) - 1))

    values = {graph.input: off(x)}
    for node in graph.nodes:
        arrays = {
            name: off(torch.from_numpy(np.array(array, np.float64 if array.dtype.kind == "f" else array.dtype)))
            for name, array in node.operator.arrays().items()
        }
        values[node.output] = off(node.operator.run([values[name] for name in node.inputs], arrays))
    return values[graph.output]


def bfloat16_errors(graph: Graph, x: Tensor, draws: int = 4) -> tuple[float, float]:
    """The bfloat16 module's distance from float64, and that of the model (root mean squares over samples and draws)."""
    truth = to_module(graph, dtype=torch.float64)(x)
    found = to_module(graph, dtype=torch.bfloat16)(x.bfloat16()).double()
    expected = torch.stack([shaken(graph, x, seed) for seed in range(draws)])
    return tuple(float((value - truth).square().mean().sqrt()) for value in (found, expected))  # type: ignore[return-value]
