"""Whether the samples of a batch keep apart: tested, since it is what lets one sample be certified at all.
See docs/numerics.md 8.2.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from radii.graph.difference import difference
from radii.graph.ir import Graph
from radii.graph.module import to_module
from radii.graph.operator import Shape

TOLERANCE = 1e-6  # of an output: the rounding of another order of summation in float64 is far below,
SHARE = 1e-3  # also where it is what is left of numbers as large as this makes it


@torch.inference_mode()
def check_batch_independence(
    module: Callable[[Tensor], Tensor],
    input_shape: Shape,
    *,
    batch: int = 4,
    dtype: torch.dtype = torch.float32,
    tolerance: float = 1e-4,
) -> bool:
    """Whether each row alone gives what it gives in a batch, to ``tolerance`` of each output (`difference`).

    A graph read by `read_onnx` keeps samples apart by construction; this is the test of it, and of modules that
    come from elsewhere. The inputs are uniform on [0, 1], from a fixed seed.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(batch, *input_shape, generator=generator, dtype=torch.float64).to(dtype)
    together = module(x)
    alone = [module(row[None]) for row in x]
    if len(together) != batch or any(y.shape != together[:1].shape for y in alone):
        return False
    if not together.isfinite().all():
        return False
    return difference(torch.cat(alone), together, share=0.1) <= tolerance


@torch.inference_mode()
def keeps_apart(one: Graph, two: Graph) -> bool:
    """Whether ``two``, a file read at a batch of 2, gives each of its samples what ``one``, read at 1, gives it alone.

    In float64, on uniform and on normal inputs, each pair twice: as it is, and with NaN for the second sample, which
    shows even where the first does not change with it: behind a ReLU that is off, say. Inputs whose own logits are
    not finite prove nothing; False where those of all are.
    """
    alone, together = (to_module(graph, dtype=torch.float64) for graph in (one, two))
    tested = False
    for seed, draw in enumerate((torch.rand, torch.randn) * 2):
        generator = torch.Generator().manual_seed(seed)
        pair: Tensor = draw(2, *one.input_shape, generator=generator, dtype=torch.float64)
        expected = alone(pair).flatten(1)
        if not expected.isfinite().all():
            continue
        tested = True
        if not difference(together(pair[None]).reshape(2, -1), expected, share=SHARE) <= TOLERANCE:
            return False
        pair[1] = torch.nan
        found = torch.stack([together(pair[None]).reshape(2, -1)[0], expected[1]])
        if not difference(found, expected, share=SHARE) <= TOLERANCE:
            return False
    return tested
