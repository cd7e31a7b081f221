"""Where a module's tensors lie, and of what type its logits are, shown without a GPU.

The module is moved to torch's device "meta", whose tensors have a shape and a type and no values, and every operator of
torch that then runs must find all its tensors there. So whatever a module makes as it runs lies where its input does,
on a GPU too. What the kernels of a GPU compute is not shown: see `tests.graph.cuda`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from radii.graph import Graph, to_module


class OneDevice(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """No two devices meet in an operator; a tensor without axes counts too, though CUDA takes some from the CPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        met = {value.device.type for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)}
        assert len(met) < 2, f"{func} reads tensors on {sorted(met)}"
        return func(*args, **(kwargs or {}))


def check_placement(graph: Graph, dtype: torch.dtype = torch.bfloat16) -> None:
    """The logits are where the module and its input are, and of their type."""
    module = to_module(graph, dtype=dtype).to("meta")
    x = torch.empty(3, *graph.input_shape, dtype=dtype, device="meta")
    with OneDevice(), torch.no_grad():  # type: ignore[no-untyped-call]
        y = module(x)
    assert (y.shape, y.dtype, y.device) == ((3, graph.num_classes), dtype, x.device)
