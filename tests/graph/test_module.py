"""The module is a plain one: torch.compile, vmap, autograd, other types, moved and copied."""

import copy
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from radii.graph import OPERATORS, from_canonical, read_onnx, to_canonical, to_module
from tests.graph import plain
from tests.graph.build import model, node, relative_gap
from tests.graph.export import export
from tests.graph.networks import NETWORKS, trained
from tests.graph.rounding import bfloat16_errors
from tests.graph.space import SPACES, readable


@pytest.fixture(scope="module")
def pair() -> tuple[nn.Module, nn.Module]:
    """A small ResNet and its graph as a module, both in float64."""
    network = plain.shaken(plain.ResNet(plain.BasicBlock, [1, 1], 4, cifar=False))
    data = export(network, (3, 32, 32), dynamo=False, opset=17, dynamic=True)
    return network.double(), to_module(read_onnx(data), dtype=torch.float64)


def sample(batch: int) -> torch.Tensor:
    return torch.rand(batch, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("width", [1, 3, 8, 12, 16, 32])
@pytest.mark.parametrize("channels", [1, 2, 4, 8, 12, 14, 16, 32])
def test_convolutions_in_bfloat16(channels: int, width: int) -> None:
    """Whatever the processor. Some kernels of oneDNN are wrong by the size of the answer where there is AMX."""
    draw = np.random.default_rng(channels * width)
    for axes, groups in ((1, 2), (2, 1)):
        kernel = (5, channels) + (3,) * (axes - 1) + (width,)
        weight = draw.standard_normal((groups, *kernel)).reshape(-1, *kernel[1:]).astype(np.float32)
        weight /= np.sqrt(weight[0].size)
        shape = (channels * groups, *(6,) * (axes - 1), 40)
        graph = read_onnx(
            model([node("Conv", ["x", "w"], "z", group=groups), node("Flatten", ["z"])], shape, {"w": weight})
        )
        x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)).bfloat16()
        exact = to_module(graph, dtype=torch.float64)(x.double())
        gap = to_module(graph, dtype=torch.bfloat16)(x).double() - exact
        assert gap.norm() < 2**-7 * exact.norm()


def test_autograd(pair: tuple[nn.Module, nn.Module]) -> None:
    gradients = []
    for module in pair:
        x = sample(2).requires_grad_()
        module(x)[:, 3].sum().backward()
        gradients.append(x.grad.numpy())  # type: ignore[union-attr]
    assert relative_gap(gradients[1], gradients[0]) < 1e-5


def test_vmap_and_jacobian(pair: tuple[nn.Module, nn.Module]) -> None:
    x = sample(3)
    rows = torch.func.vmap(lambda row: pair[1](row[None])[0])(x)
    assert torch.allclose(rows, pair[1](x), rtol=1e-12)
    theirs, ours = (torch.func.jacrev(lambda row, module=module: module(row[None])[0])(x[0]) for module in pair)
    assert relative_gap(ours.detach().numpy(), theirs.detach().numpy()) < 1e-5


@pytest.mark.parametrize("operator", sorted(SPACES))
def test_every_operator_is_traced_whole(operator: str) -> None:
    """torch.compile without a break, and without its own arithmetic: the same numbers.

    From the canonical form, as the service reads it: its arrays lie in bytes that nobody may change.
    """
    graph = from_canonical(*to_canonical(read_onnx(readable(operator, 8)[-1].data())))
    module, x = to_module(graph), torch.rand(2, *graph.input_shape, generator=torch.Generator().manual_seed(1))
    torch._dynamo.reset()
    traced = torch.compile(module, backend="eager", fullgraph=True)(x)
    assert torch.equal(traced, module(x))


SMOOTH = sorted(name for name in SPACES if "jumps" not in OPERATORS[name].behaviour)
SMOOTH.remove("Acosh")  # its operands are 1 and more: half of those that are a little off it is not defined for


@pytest.mark.parametrize("operator", SMOOTH)
def test_every_operator_in_bfloat16(operator: str) -> None:
    """It loses what its format says (`tests.graph.rounding`), at most eight times: some round inside too."""
    for case in readable(operator, 8)[:4]:
        graph = read_onnx(case.data())
        x = torch.randn(6, *graph.input_shape, generator=torch.Generator().manual_seed(1)).double()
        found, expected = bfloat16_errors(graph, x)
        assert found <= 8 * expected


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_traced_whole(name: str) -> None:
    network, shape = trained(name), NETWORKS[name][1]
    module = to_module(read_onnx(export(network, shape, dynamo=False, opset=17, dynamic=True)))
    x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1))
    torch._dynamo.reset()
    assert torch.equal(torch.compile(module, backend="eager", fullgraph=True)(x), module(x))


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own
def test_compiled_code() -> None:
    """Through the C++ compiler: padded convolutions, both pools, sums of branches."""
    shape = NETWORKS["resnet_basic"][1]
    module = to_module(read_onnx(export(trained("resnet_basic"), shape, dynamo=False, opset=17, dynamic=True)))
    x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1))
    torch._dynamo.reset()
    assert torch.allclose(torch.compile(module, fullgraph=True)(x), module(x), rtol=1e-4, atol=1e-6)


def test_functional_call(pair: tuple[nn.Module, nn.Module]) -> None:
    x, module = sample(2), pair[1]
    zeros = {name: torch.zeros_like(buffer) for name, buffer in module.named_buffers()}
    assert torch.equal(torch.func.functional_call(module, zeros, (x,)), torch.zeros(2, 10, dtype=torch.float64))


def test_copies_states_and_types(pair: tuple[nn.Module, nn.Module]) -> None:
    x, module = sample(2), pair[1]
    again = copy.deepcopy(module)
    again.load_state_dict(module.state_dict())
    assert torch.equal(again(x), module(x))
    expected = module(x).numpy()
    assert relative_gap(again.float()(x.float()).double().numpy(), expected) < 1e-5
    assert relative_gap(again.bfloat16()(x.bfloat16()).double().numpy(), expected) < 0.1
    assert list(module.parameters()) == []


def test_memory_layout_of_the_weights_does_not_count() -> None:
    weight = np.random.default_rng(0).normal(size=(300, 70)).astype(np.float32)
    x = torch.rand(9, 300)
    outputs = [
        to_module(read_onnx(model([node("Gemm", ["x", "w"], transB=given.shape == (70, 300))], (300,), {"w": given})))(
            x
        )
        for given in (weight, np.ascontiguousarray(weight.T))
    ]
    assert torch.equal(*outputs)
