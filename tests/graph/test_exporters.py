"""What both torch exporters write of the classic networks, against onnxruntime and torch itself."""

from pathlib import Path

import numpy as np
import pytest
import torch

from radii.graph import UnsupportedModel, check_batch_independence, methods, read_onnx, to_module, with_cones
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
    rows = [x] if dynamic else x.split(1)
    expected = np.concatenate([reference(data, row.numpy()) for row in rows])
    assert relative_gap(found.numpy(), expected) < 1e-5
    assert check_batch_independence(to_module(graph), shape)
    assert all(method["applies"] for method in methods(graph))
    assert not {"BatchNormalization", "Dropout", "Identity"} & set(graph.summary()["operators"])
    assert not {"Erf", "Sigmoid"} & {node.operator.name for node in with_cones(graph).nodes}


def test_weights_beside_the_file_as_torch_writes_them(tmp_path: Path) -> None:
    network, shape = trained("vgg"), NETWORKS["vgg"][1]
    file = tmp_path / "vgg.onnx"
    inside = export(network, shape, dynamo=True, opset=20, dynamic=False, file=file)
    with pytest.raises(UnsupportedModel, match=r"weights of \d+ tensors lie in the file 'vgg.onnx.data'"):
        read_onnx(file.read_bytes())
    weights = (tmp_path / "vgg.onnx.data").read_bytes()
    graph = read_onnx(file.read_bytes(), external_data={"vgg.onnx.data": weights})
    assert graph.digest == read_onnx(inside).digest
    with pytest.raises(UnsupportedModel, match="outside the file"):
        read_onnx(file.read_bytes(), external_data={"vgg.onnx.data": weights[: len(weights) // 2]})
