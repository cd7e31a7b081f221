"""What both torch exporters write of the classic networks, against onnxruntime and torch itself."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from radii.graph import UnsupportedModel, check_batch_independence, methods, read_onnx, to_module, with_cones
from radii.lipschitz import network_bound
from tests.graph.build import reference, relative_gap
from tests.graph.export import export
from tests.graph.networks import NETWORKS, trained

# (dynamo, opset, dynamic batch): every network through four, the cheap ones through all.
WAYS = [(True, 20, False), (True, 18, True), (False, 17, True), (False, 13, False)]
MORE = [(True, 20, True), (True, 18, False), (False, 17, False), (False, 13, True), (False, 11, True), (False, 9, True)]
MATRIX = [(name, *way) for name in NETWORKS for way in WAYS] + [("lenet", *way) for way in MORE]


@pytest.mark.parametrize(("name", "dynamo", "opset", "dynamic"), MATRIX)
def test_network_through_exporter(name: str, dynamo: bool, opset: int, dynamic: bool) -> None:
    network, shape = trained(name), NETWORKS[name][1]
    data = export(network, shape, dynamo=dynamo, opset=opset, dynamic=dynamic)
    graph = read_onnx(data)
    assert graph.input_shape == shape
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(6))
    found = to_module(graph)(x)
    with torch.no_grad():
        assert relative_gap(found.numpy(), network(x).numpy()) < 1e-5
        doubled = network.double()(x.double())
        # The folded weights are kept in float64, the exporter's in float32.
        assert relative_gap(to_module(graph, dtype=torch.float64)(x.double()).numpy(), doubled.numpy()) < 1e-6
    rows = [x] if dynamic else x.chunk(3)
    expected = np.concatenate([reference(data, row.numpy()) for row in rows])
    assert relative_gap(found.numpy(), expected) < 1e-5
    assert check_batch_independence(to_module(graph), shape)
    assert [method["kind"] for method in methods(graph) if method["applies"]] == ["smoothing", "lipschitz"]
    assert not {"BatchNormalization", "Dropout", "Identity"} & set(graph.summary()["operators"])
    assert not {"Erf", "Sigmoid"} & {node.operator.name for node in with_cones(graph).nodes}


def test_weights_beside_the_file_as_torch_writes_them(tmp_path: Path) -> None:
    network, shape = trained("vgg"), NETWORKS["vgg"][1]
    file = tmp_path / "vgg.onnx"
    inside = export(network, shape, dynamo=True, opset=20, dynamic=False, file=file)
    with pytest.raises(UnsupportedModel, match=r"weights lie in the file 'vgg.onnx.data'"):
        read_onnx(file.read_bytes())
    weights = (tmp_path / "vgg.onnx.data").read_bytes()
    graph = read_onnx(file.read_bytes(), external_data={"vgg.onnx.data": weights})
    assert graph.digest == read_onnx(inside).digest
    with pytest.raises(UnsupportedModel, match="outside the file"):
        read_onnx(file.read_bytes(), external_data={"vgg.onnx.data": weights[: len(weights) // 2]})


class QuickGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class NewGelu(nn.Module):
    """As transformers writes it."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


class CubeAsProduct(nn.Module):
    """The same with products for the power."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 0.5 * (1.0 + torch.tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x)))


class ByHand(nn.Module):
    """Hard swish as MobileNetV3 was first written."""

    def forward(self, x: Tensor) -> Tensor:
        return x * F.relu6(x + 3) / 6


class MishByHand(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.tanh(F.softplus(x))


ACTIVATIONS: list[tuple[nn.Module, float]] = [
    (nn.GELU(), 1.128904145186),
    (nn.GELU("tanh"), 1.128993068660),
    (NewGelu(), 1.128993068660),
    (CubeAsProduct(), 1.128993068660),
    (QuickGelu(), 1.099839320130),
    (nn.SiLU(), 1.099839320130),
    (nn.Mish(), 1.088498161253),
    (MishByHand(), 1.088498161253),
    (nn.Hardswish(), 1.5),
    (ByHand(), 1.5),
    (nn.Softplus(), 1.0),
    (nn.Softplus(beta=2.0, threshold=10.0), 1.0),
    (nn.Softsign(), 1.0),
    (nn.Tanhshrink(), 1.0),
    (nn.ELU(), 1.0),
    (nn.SELU(), 1.758099340848),
    (nn.Hardtanh(), 1.0),
    (nn.Softshrink(), 1.0),
]


@pytest.mark.parametrize(("dynamo", "opset"), [(True, 18), (True, 20), (False, 11), (False, 17)])
@pytest.mark.parametrize(("activation", "steepest"), ACTIVATIONS, ids=lambda value: type(value).__name__)
def test_activations_as_the_exporters_spell_them(
    activation: nn.Module, steepest: float, dynamo: bool, opset: int
) -> None:
    """Its own constant, in however many nodes: nothing but the activation, then a Flatten to have logits."""
    data = export(nn.Sequential(activation, nn.Flatten()).eval(), (2, 5), dynamo=dynamo, opset=opset, dynamic=True)
    graph = read_onnx(data)
    x = torch.randn(40, 2, 5, generator=torch.Generator().manual_seed(3)) * 2
    assert relative_gap(to_module(graph)(x).numpy(), reference(data, x.numpy())) < 1e-5
    assert steepest * (1 - 1e-7) <= network_bound(graph, task="regressor").upper <= steepest * (1 + 1e-6)
