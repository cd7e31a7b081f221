"""What norms of layers may cost."""

import itertools
import re

import numpy as np
import pytest
import torch
from torch import nn

from radii.graph import Graph
from radii.lipschitz import NetworkBound, conv_norm, network_bound
from radii.lipschitz.network.effort import UNIT_OF_WORK, Effort
from radii.lipschitz.network.norms import node_norms
from radii.lipschitz.work import TooMuchWork
from tests.graph.plain import BasicBlock, ResNet
from tests.lipschitz.network.test_bound import graph_of


def norms_of(graph: Graph, spent: int) -> tuple[list[float], Effort]:
    """Of the nodes, with a budget of 1 of which so many multiply-adds are gone."""
    rules = [node.operator.lipschitz(*graph.input_shapes(node)) for node in graph.nodes]
    effort = Effort(1, spent=spent)
    return [norm.upper for norm in node_norms(graph, rules, 1e-6, {}, effort)[0]], effort


def layers() -> list[tuple[nn.Module, tuple[int, ...]]]:
    torch.manual_seed(0)
    found: list[tuple[nn.Module, tuple[int, ...]]] = [(nn.Linear(40, 30), (40,)), (nn.Linear(30, 40), (30,))]
    for stride, dilation, groups in itertools.product((1, 2, 3), (1, 2), (1, 2)):
        how = {"stride": stride, "dilation": dilation, "groups": groups}
        found.append((nn.Conv2d(4, 6, 3, padding=1, **how), (4, 9, 9)))  # type: ignore[arg-type]
        found.append((nn.ConvTranspose2d(4, 6, 3, padding=1, **how), (4, 5, 5)))  # type: ignore[arg-type]
        found.append((nn.Conv1d(4, 6, 4, padding=2, **how), (4, 30)))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("positive", [False, True])
def test_a_layer_whose_norm_takes_too_much_has_a_bound_that_holds(positive: bool) -> None:
    """Positive weights reach what a weight of any sign could."""
    for module, shape in layers():
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(parameter.abs() if positive else parameter)
        graph = graph_of(nn.Sequential(module, nn.Flatten()), shape)
        (own, *_), whole = norms_of(graph, 0)
        (rough, *_), none = norms_of(graph, UNIT_OF_WORK)
        assert not whole.notes()
        [note] = none.notes()
        assert "slices" in note and "node 0" in note
        zero, basis = torch.zeros(1, *shape), torch.eye(int(np.prod(shape))).reshape(-1, *shape)
        with torch.no_grad():
            matrix = (module(basis) - module(zero)).flatten(1).double().numpy()
        true = float(np.linalg.norm(matrix, 2))
        assert true * (1 - 1e-5) <= min(own, rough), module
        assert rough <= 3 * np.linalg.norm(matrix) + 1e-9, module


def resnet() -> Graph:
    torch.manual_seed(1)
    return graph_of(ResNet(BasicBlock, [1, 1, 1, 1], cifar=False), (3, 32, 32))


def refused(bound: NetworkBound) -> list[str]:
    return [note for note in bound.notes if "slices" in note]


def test_the_budget_that_a_note_names_is_enough() -> None:
    graph = resnet()
    bounds = {budget: network_bound(graph, bound="product", budget=budget) for budget in (1, 2, 1024)}
    assert all(bounds[1024].upper <= bound.upper for bound in bounds.values())
    assert bounds[1024].upper < 0.01 * bounds[1].upper
    [note] = refused(bounds[1])
    assert {layer.method for layer in bounds[1].layers} >= {"slices"}
    assert not refused(bounds[1024])
    named = re.search(r"a budget of ([\d,]+) has them", note)
    assert named is not None
    assert not refused(network_bound(graph, bound="product", budget=int(named[1].replace(",", ""))))
    again = network_bound(graph, bound="product", budget=1)
    assert again.upper == pytest.approx(bounds[1].upper, rel=1e-12)


def test_a_convolution_says_before_what_it_takes() -> None:
    told: list[int] = []

    def spend(work: int, more: int = 0, *, optional: bool = False) -> None:
        told.append(work)
        if len(told) == stop:
            raise TooMuchWork(work + more)

    weight = np.random.default_rng(0).standard_normal((16, 16, 3, 3))
    stop = 0
    conv_norm(weight, 64, padding=1, spend=spend)
    steps = len(told)
    assert steps > 1
    for stop in range(1, steps):
        told.clear()
        with pytest.raises(TooMuchWork):
            conv_norm(weight, 64, padding=1, spend=spend)
        assert len(told) == stop
