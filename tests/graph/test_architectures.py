"""Named architectures from their weights, against plain torch modules of the same architecture."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import nn

from radii.architectures import ARCHITECTURES, Architecture, Convnext, Mlp, Resnet, parse_architecture
from radii.graph import UnsupportedModel, from_weights, to_module
from tests.graph import plain
from tests.graph.build import relative_gap

IMAGE = (3, 32, 32)
NETWORKS: list[tuple[str, dict[str, Any], nn.Module, tuple[int, ...]]] = [
    ("mlp", {"hidden": [20, 16]}, plain.mlp([20, 16], nn.ReLU, False, (3, 4, 4)), (3, 4, 4)),
    ("mlp", {"hidden": [9], "activation": "silu", "batch_norm": True}, plain.mlp([9], nn.SiLU, True, (7,)), (7,)),
    ("mlp", {"hidden": [9, 8, 7], "activation": "gelu"}, plain.mlp([9, 8, 7], nn.GELU, False, (1, 4)), (1, 4)),
    ("mlp", {"hidden": [9], "activation": "tanh"}, plain.mlp([9], nn.Tanh, False, (7,)), (7,)),
    ("resnet", {"layers": [2, 1, 2], "width": 8}, plain.ResNet(plain.BasicBlock, [2, 1, 2], 8, cifar=False), IMAGE),
    (
        "resnet",
        {"block": "bottleneck", "layers": [1, 2], "width": 4, "stem": "cifar"},
        plain.ResNet(plain.Bottleneck, [1, 2], 4, cifar=True),
        IMAGE,
    ),
    ("wide_resnet", {"depth": 16, "width": 2}, plain.WideResNet(16, 2), IMAGE),
    ("wide_resnet", {"depth": 10, "width": 1}, plain.WideResNet(10, 1), IMAGE),
    (
        "vgg",
        {"widths": [6, 0, 8, 8, 0], "batch_norm": True, "pool": 4, "hidden": 12},
        plain.VGG([6, 0, 8, 8, 0], True, 4, 12),
        IMAGE,
    ),
    ("vgg", {"widths": [4, 0], "batch_norm": False, "pool": 16, "hidden": 5}, plain.VGG([4, 0], False, 16, 5), IMAGE),
    ("convnext", {"layers": [1, 2], "widths": [8, 12], "patch": 4}, plain.ConvNeXt([1, 2], [8, 12], 4), IMAGE),
]


def built(name: str, parameters: dict[str, Any]) -> Architecture:
    return parse_architecture({"name": name, "parameters": parameters})


@pytest.mark.parametrize(("name", "parameters", "network", "shape"), NETWORKS, ids=lambda value: str(value)[:40])
def test_logits_are_those_of_the_torch_module(
    name: str, parameters: dict[str, Any], network: nn.Module, shape: tuple[int, ...]
) -> None:
    network = plain.shaken(network)
    graph = from_weights(built(name, parameters), save(network.state_dict()), shape)
    assert (graph.input_shape, graph.num_classes) == (shape, 10)
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert relative_gap(to_module(graph)(x).numpy(), network(x).numpy()) < 1e-5
        doubled = network.double()(x.double()).numpy()
        network.float()
    assert relative_gap(to_module(graph, dtype=torch.float64)(x.double()).numpy(), doubled) < 1e-12


def test_every_architecture_is_tested_and_its_defaults_are_sound() -> None:
    assert {name for name, *_ in NETWORKS} == set(ARCHITECTURES)
    for name, cls in ARCHITECTURES.items():
        assert parse_architecture({"name": name}) == cls()


def tensors(**changes: torch.Tensor | None) -> bytes:
    state = dict(plain.mlp([5], nn.ReLU, True, (4,)).state_dict()) | changes
    return save({name: value for name, value in state.items() if value is not None})


def reasons(weights: bytes, architecture: Architecture | None = None, shape: tuple[int, ...] = (4,)) -> list[str]:
    with pytest.raises(UnsupportedModel) as refusal:
        from_weights(architecture or Mlp(hidden=[5], batch_norm=True), weights, shape)
    assert all(obstacle.remedy for obstacle in refusal.value.obstacles)
    return [obstacle.reason for obstacle in refusal.value.obstacles]


def test_all_wrong_tensors_are_listed_at_once() -> None:
    from_weights(Mlp(hidden=[5], batch_norm=True), tensors(), (4,))
    wrong = {
        "1.weight": None,
        "1.bias": torch.zeros(6),
        "2.weight": torch.ones(5, dtype=torch.int32),
        "4.bias": torch.full((10,), torch.nan),
        "fc.weight": torch.zeros(1),
    }
    assert reasons(tensors(**wrong)) == [
        "the tensor '1.weight' of shape [5, 4] is missing",
        "the tensor '1.bias' has shape [6], not [5]",
        "the tensor '2.weight' is int32, not of floats",
        "the tensor '4.bias' holds infinity or NaN",
        "the tensor 'fc.weight' belongs to no layer of this architecture",
    ]
    assert reasons(tensors(**{"2.running_var": -torch.ones(5)})) == [
        "the tensor '2.running_var' holds a negative variance"
    ]


def test_what_does_not_fit_the_input() -> None:
    weights = save({"conv1.weight": torch.zeros(64, 3, 7, 7)})
    assert "no image" in reasons(weights, Resnet(), (48,))[0]
    patches = save({"features.0.0.weight": torch.zeros(96, 3, 4, 4)})
    assert "larger than its input" in reasons(patches, Convnext(), (3, 2, 2))[0]
    assert any("over the limit" in reason for reason in reasons(weights, Mlp(hidden=[65536, 65536]), (65536,)))


def test_weights_in_half_precision_are_widened() -> None:
    network = plain.shaken(plain.mlp([5], nn.ReLU, False, (4,)))
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))
    for dtype in (torch.float16, torch.bfloat16):
        state = {name: value.to(dtype) for name, value in network.state_dict().items()}
        module = to_module(from_weights(Mlp(hidden=[5]), save(state), (4,)))
        network.load_state_dict({name: value.float() for name, value in state.items()})
        with torch.no_grad():
            assert relative_gap(module(x).numpy(), network(x).numpy()) < 1e-6


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ({"name": "lenet"}, "mlp, resnet"),
        ({}, "mlp, resnet"),
        ("mlp", "mlp, resnet"),
        ({"name": "mlp", "depth": 3}, "mlp, resnet"),
        ({"name": "mlp", "parameters": {"depth": 3}}, "depth"),
        ({"name": "mlp", "parameters": {"hidden": []}}, "hidden"),
        ({"name": "mlp", "parameters": {"hidden": [0]}}, "hidden"),
        ({"name": "mlp", "parameters": {"hidden": ["9"]}}, "hidden"),
        ({"name": "mlp", "parameters": {"activation": "sin"}}, "activation"),
        ({"name": "mlp", "parameters": {"num_classes": 1}}, "num_classes"),
        ({"name": "wide_resnet", "parameters": {"depth": 11}}, "depth"),
        ({"name": "wide_resnet", "parameters": {"width": 10**9}}, "width"),
        ({"name": "vgg", "parameters": {"widths": [0]}}, "widths"),
        ({"name": "vgg", "parameters": {"widths": [-1]}}, "widths"),
        ({"name": "convnext", "parameters": {"layers": [1]}}, "layers"),
        ({"name": "resnet", "parameters": {"layers": [1] * 7}}, "layers"),
    ],
    ids=json.dumps,
)
def test_parameters_that_can_not_be(document: Any, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        parse_architecture(document)


def test_arrays_are_views_of_the_file() -> None:
    weights = tensors()
    graph = from_weights(Mlp(hidden=[5], batch_norm=True), weights, (4,))
    last = graph.nodes[-1].operator.arrays()["weight"]
    assert not last.flags.owndata and not last.flags.writeable
    assert np.shares_memory(last, np.frombuffer(weights, np.uint8))
