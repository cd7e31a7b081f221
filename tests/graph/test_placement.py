"""Every operator makes its tensors where its input lies, in every type; the zoo's networks are in `test_zoo`."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from radii.graph import read_onnx
from radii.graph.ops.activation import Relu
from tests.graph.build import model, node
from tests.graph.placement import check_placement
from tests.graph.space import corpus


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_every_operator(dtype: torch.dtype) -> None:
    for case in corpus():
        check_placement(read_onnx(case.data()), dtype)


@pytest.mark.parametrize(
    "constant",
    [
        lambda x: torch.zeros(x.shape[1:], dtype=x.dtype),
        lambda x: torch.tensor(0.0, dtype=x.dtype),
        lambda x: torch.from_numpy(np.zeros(4)).to(x.dtype),
        lambda x: torch.zeros(x.shape[1:], dtype=torch.float64, device=x.device),
    ],
)
def test_a_constant_of_its_own_is_found(monkeypatch: pytest.MonkeyPatch, constant: Callable[[Tensor], Tensor]) -> None:
    """On the CPU, or of a type of its own."""
    graph = read_onnx(model([node("Relu", ["x"])], (4,)))
    check_placement(graph)

    def run(_: Relu, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return torch.relu(inputs[0]) + constant(inputs[0])

    monkeypatch.setattr(Relu, "run", run)
    with pytest.raises(AssertionError):
        check_placement(graph)
