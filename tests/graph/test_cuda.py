"""The comparison of `tests.graph.cuda`: on a GPU where there is one, and its own logic on the CPU."""

from pathlib import Path

import pytest
import torch

from radii.graph import Graph, read_onnx
from tests.graph import cuda
from tests.graph.export import export
from tests.graph.networks import NETWORKS, trained

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))]


@pytest.fixture(scope="module")
def graphs() -> dict[str, Graph]:
    return {
        name: read_onnx(export(trained(name), NETWORKS[name][1], dynamo=False, opset=17, dynamic=True))
        for name in ("mlp", "lenet", "resnet_basic")
    }


@pytest.mark.parametrize("device", DEVICES)
def test_networks_agree(graphs: dict[str, Graph], tmp_path: Path, device: str) -> None:
    for name, graph in graphs.items():
        cuda.save(tmp_path / name, graph)
    assert {name: graph.digest for name, graph in cuda.load(tmp_path)} == {
        name: graph.digest for name, graph in graphs.items()
    }
    assert cuda.check(tmp_path, device) == 0


def test_a_device_that_can_not_is_told(
    graphs: dict[str, Graph], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("lenet", "mlp"):
        cuda.save(tmp_path / name, graphs[name])
    assert cuda.check(tmp_path, "meta") == 2
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == ["lenet", "mlp"]


def test_gap() -> None:
    truth = torch.tensor([1.0, -4.0, float("inf")], dtype=torch.float64)
    assert cuda.gap(truth.float(), truth) == 0
    assert cuda.gap(truth + torch.tensor([0.0, 1e-3, 0.0]), truth) == pytest.approx(2.5e-4)
    assert cuda.gap(torch.tensor([1.0, -4.0, 5.0]), truth) == float("inf")
    assert cuda.gap(torch.tensor([1.0, -4.0, float("nan")]), truth) == float("inf")
