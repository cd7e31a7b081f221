"""Branches that leave one activation and meet again: closed forms are met, and no slope exceeds a bound."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from radii.graph import Graph, Node, to_module
from radii.graph.operator import Operator, Shape
from radii.lipschitz import network_bound
from radii.lipschitz.network.effort import Effort
from radii.lipschitz.network.joins import Join, with_joins
from tests import acceptance
from tests.lipschitz.network.operators import new_operator
from tests.lipschitz.network.regions import steepest as exact_constant
from tests.lipschitz.network.test_bound import Residual, graph_of

SQRT2 = 2**0.5


ORTHOGONAL = [
    *("maxmin_Split", "maxmin_ReluDiff", "maxmin_Where", "lip1_minmax", "deel_dense_GroupSort2", "deel_dense_MaxMin"),
    *("br_CReLU", "center_space", "center_channel", "lip1_center_relu"),
]


@pytest.mark.parametrize("name", ORTHOGONAL)
def test_networks_of_orthogonal_layers(name: str) -> None:
    bound = network_bound(acceptance.real(f"{name}.onnx"))
    assert 0.9 <= bound.upper <= 1.00001
    assert bound.pairs(0).max() <= 1.00001 * SQRT2


class Function(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x).flatten(1)


def halves(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    a, b = x.chunk(2, dim=1)
    return a, b


def joined(*parts: torch.Tensor) -> torch.Tensor:
    return torch.cat(parts, dim=1)


def relu_differences(x: torch.Tensor) -> torch.Tensor:
    a, b = x[:, ::2], x[:, 1::2]
    return joined(b + torch.relu(a - b), a - torch.relu(a - b))


def absolute_differences(x: torch.Tensor) -> torch.Tensor:
    a, b = halves(x)
    return joined((a + b + (a - b).abs()) / 2, (a + b - (a - b).abs()) / 2)


def chosen(x: torch.Tensor) -> torch.Tensor:
    a, b = halves(x)
    return joined(torch.where(a - b > 0, a, b), torch.where(a <= b, a, b))


def not_the_smaller(x: torch.Tensor) -> torch.Tensor:
    a, b = halves(x)
    return joined(torch.where(~(a < b), a, b), torch.where(~~(a < b), a, b))


def stacked(x: torch.Tensor) -> torch.Tensor:
    pairs = x.reshape(-1, x.shape[1] // 2, 2, *x.shape[2:])
    return torch.stack([pairs.amax(2), pairs.amin(2)], 2).flatten(1, 2)


def sorted_four(x: torch.Tensor) -> torch.Tensor:
    """A network of comparators: kinks of kinks."""
    a, b, c, d = x.chunk(4, dim=1)
    a, b, c, d = torch.maximum(a, b), torch.minimum(a, b), torch.maximum(c, d), torch.minimum(c, d)
    a, b, c, d = torch.maximum(a, c), torch.maximum(b, d), torch.minimum(a, c), torch.minimum(b, d)
    return joined(a, torch.maximum(b, c), torch.minimum(b, c), d)


SPELLINGS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], float]] = {
    "larger and smaller": (lambda x: joined(torch.maximum(*halves(x)), torch.minimum(*halves(x))), 1),
    "relu of differences": (relu_differences, 1),
    "absolute differences": (absolute_differences, 1),
    "chosen": (chosen, 1),
    "not the smaller": (not_the_smaller, 1),
    "stacked": (stacked, 1),
    "sorting network": (sorted_four, 1),
    "larger twice": (lambda x: joined(torch.maximum(*halves(x)), torch.maximum(*halves(x))), SQRT2),
    "positive and negative part": (lambda x: joined(torch.relu(x), torch.relu(-x)), 1),
    "positive part and the rest": (lambda x: joined(x - torch.relu(x), torch.relu(x)), 1),
    "what they add up to": (lambda x: torch.relu(x) - torch.relu(-x), 1),
    "positive part of half": (lambda x: joined(torch.relu(halves(x)[0]), halves(x)[1]), 1),
    "positive part and all": (lambda x: joined(torch.relu(x), x), SQRT2),
    "two functions": (lambda x: joined(torch.relu(x), torch.tanh(x)), SQRT2),
    "opposite leaky": (lambda x: nn.functional.leaky_relu(x, 0.5) - nn.functional.leaky_relu(-x, 0.5), 1.5),
    "shifted": (lambda x: joined(torch.relu(x + 0.25), torch.relu(-x - 0.25)), 1),
    "shifted apart": (lambda x: joined(torch.relu(x + 0.25), torch.relu(0.5 - x)), SQRT2),
    "less the mean": (lambda x: x - x.mean(1, keepdim=True), 1),
    "less the mean of pixels": (lambda x: x - x.mean((2, 3), keepdim=True), 1),
    "less the pooled mean": (lambda x: x - nn.functional.adaptive_avg_pool2d(x, 1), 1),
    "relu of less the pooled mean": (lambda x: torch.relu(x - nn.functional.adaptive_avg_pool2d(x, 1)), 1),
    "less the mean of one window": (lambda x: x - nn.functional.avg_pool2d(x, 3), 1),
    "less the mean of one padded window": (
        lambda x: x - nn.functional.avg_pool2d(x, 5, padding=1, count_include_pad=False),
        1,
    ),
    "less the mean of windows of one row": (lambda x: x - nn.functional.avg_pool2d(x, (1, 3)), 1),
    "twice the mean more": (lambda x: x + 2 * x.mean(1, keepdim=True), 3),
    "less both means": (
        lambda x: x - x.mean(1, keepdim=True) - x.mean((2, 3), keepdim=True) + x.mean((1, 2, 3), keepdim=True),
        1,
    ),
    "less the mean of rows, by a sum": (lambda x: x - x.sum(2, keepdim=True) / 3, 1),
    "relu of what is left": (lambda x: torch.relu(x - x.mean(1, keepdim=True)), 1),
    "nothing": (lambda x: joined(x - x.mean(1, keepdim=True), x) * 0 + 1, 0),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings(spelling: str) -> None:
    function, truth = SPELLINGS[spelling]
    bound = network_bound(graph_of(Function(function), (4, 3, 3)), task="regressor", rtol=1e-10)
    assert truth * (1 - 1e-13) <= bound.upper <= truth * (1 + 1e-9)


def test_less_the_largest() -> None:
    """I less ones in the column of the largest of 3: by SVD."""
    truth = np.linalg.norm(np.eye(3) - np.array([[1.0, 0, 0]] * 3), 2)
    function = Function(lambda x: x - x.amax(1, keepdim=True))
    bound = network_bound(graph_of(function, (3, 2)), task="regressor")
    assert truth * (1 - 1e-13) <= bound.upper <= truth * (1 + 1e-6)


def test_large_activations() -> None:
    """Too large for forms: means; too many entries for one block, but few in each."""
    centred = network_bound(graph_of(Function(lambda x: x - x.mean((2, 3), keepdim=True)), (64, 64, 64)))
    paired = network_bound(graph_of(Function(SPELLINGS["larger and smaller"][0]), (64, 32, 32)))
    assert 1 <= centred.upper <= 1 + 1e-6
    assert 1 <= paired.upper <= 1 + 1e-6


def test_a_head_of_dense_layers_is_one_matrix() -> None:
    torch.manual_seed(0)

    class Dueling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value, self.gain = nn.Linear(12, 1), nn.Linear(12, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            gain = self.gain(x)
            return self.value(x) + gain - gain.mean(1, keepdim=True)

    network = Dueling()
    gain = network.gain.weight.detach().double().numpy()
    matrix = network.value.weight.detach().double().numpy() + gain - gain.mean(0)
    truth = np.linalg.norm(matrix, 2)
    bound = network_bound(graph_of(network, (12,)), task="regressor")
    assert truth * (1 - 1e-13) <= bound.upper <= truth * (1 + 1e-6)


@pytest.mark.parametrize("choice", [torch.maximum, torch.minimum])
def test_the_larger_of_two_dense_layers(choice: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
    """Maxout costs the norm of both matrices, one above the other."""
    torch.manual_seed(0)

    class Maxout(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 5), nn.Linear(6, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return choice(self.first(x), self.second(x))

    network = Maxout()
    layers = [layer.weight.detach().double().numpy() for layer in (network.first, network.second)]
    truth = np.linalg.norm(np.concatenate(layers), 2)
    bound = network_bound(graph_of(network, (6,)))
    assert truth * (1 - 1e-13) <= bound.upper <= truth * (1 + 1e-6)


def graph_from(nodes: list[tuple[Operator, tuple[str, ...]]], shape: Shape) -> Graph:
    """Nodes that read "x" or the nodes before them, by number."""
    made = [Node(operator, inputs, str(i), i) for i, (operator, inputs) in enumerate(nodes)]
    return Graph.build("x", shape, str(len(nodes) - 1), made)


def test_forms_that_only_look_alike_are_not_shared() -> None:
    """Between 0 and 1e-20 both rise: the sum rounds to the same number, the functions are not the same."""
    one, tiny = (np.array([number]) for number in (1.0, -1e-20))
    nodes = [
        (new_operator("Add", one), ("x",)),
        (new_operator("Relu"), ("0",)),
        (new_operator("Add", tiny), ("0",)),
        (new_operator("Neg"), ("2",)),
        (new_operator("Relu"), ("3",)),
        (new_operator("Concat", 0), ("1", "4")),
    ]
    assert network_bound(graph_from(nodes, (2,))).upper >= SQRT2 * (1 - 1e-12)


def random_join(rng: np.random.Generator, *, bent: Sequence[str] = ("Relu", "Abs", "Tanh", "Sigmoid")) -> Graph:
    """Operators on what was made before, of 4 entries each, put together by a Concat and a permutation."""
    names, nodes = ["x"], list[tuple[Operator, tuple[str, ...]]]()

    def put(operator: Operator, *inputs: str) -> str:
        nodes.append((operator, inputs))
        names.append(str(len(nodes) - 1))
        return names[-1]

    kinds: list[Any] = [
        *bent,
        "Neg",
        *("Add", "Sub", "Max", "Min") * 2,
        *("LeakyRelu", "Mul", "constant", "Gather", "mean", "largest"),
    ]
    for _ in range(rng.integers(3, 9)):
        kind, a, b = rng.choice(kinds), *rng.choice(names, 2)
        match kind:
            case "Add" | "Sub" | "Max" | "Min":
                put(new_operator(kind), a, b) if a != b else put(new_operator("Neg"), a)
            case "LeakyRelu":
                put(new_operator(kind, float(rng.choice([0.5, 0.1, -0.25]))), a)
            case "Mul":
                put(new_operator(kind, rng.choice([0.5, -2.0, 0.3, 1.0], 4)), a)
            case "constant":
                put(new_operator("Add", rng.choice([0.0, 0.5, -0.1], 4)), a)
            case "Gather":
                put(new_operator(kind, rng.permutation(4), 0), a)
            case "mean" | "largest":
                one = put(new_operator("ReduceMean" if kind == "mean" else "ReduceMax", (0,), True), a)
                names.pop()
                put(new_operator("Sub"), a, one)
            case _:
                put(new_operator(kind), a)
    put(new_operator("Concat", 0), *rng.choice(names, 2, replace=False))
    return graph_from(nodes, (4,))


@pytest.mark.parametrize("seed", range(150))
def test_no_slope_of_a_random_join_exceeds_its_bound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_join(rng)
    bound = network_bound(graph, bound="product", task="regressor")
    module = to_module(graph, dtype=torch.float64)
    points = torch.from_numpy(rng.standard_normal((400, 4)) * rng.choice([0.1, 1.0, 4.0], (400, 1)))
    jacobians = torch.func.vmap(torch.func.jacrev(lambda v: module(v[None])[0]))(points)
    steepest = torch.linalg.matrix_norm(jacobians, 2).max().item()
    assert steepest <= bound.upper * (1 + 1e-12) + 1e-12


KINKS = ("Relu", "Abs", "LeakyRelu", "Max", "Min", "ReduceMax")


def test_random_joins_against_their_exact_constants() -> None:
    """All regions where a graph is linear, by linear programs: no bound is below the steepest, and most are there."""
    exact, looked_at = 0, 0
    for seed in range(40):
        graph = random_join(np.random.default_rng(seed), bent=("Relu", "Abs"))
        if not 1 <= sum(node.operator.name in KINKS for node in graph.nodes) <= 2:
            continue
        truth = exact_constant(graph)
        bound = network_bound(graph, bound="product", task="regressor", rtol=1e-10)
        assert truth <= bound.upper * (1 + 1e-9) + 1e-12
        joined = any(isinstance(node.operator, Join) for node in with_joins(graph, {}, 1e-10, Effort()).nodes)
        looked_at += joined
        exact += joined and bound.upper <= truth * (1 + 1e-9)
    assert looked_at >= 8
    assert exact >= 0.8 * looked_at


def test_random_joins_are_joined() -> None:
    """What the test above is about."""
    count = 0
    for seed in range(150):
        graph = random_join(np.random.default_rng(seed))
        count += any(isinstance(node.operator, Join) for node in with_joins(graph, {}, 1e-6, Effort()).nodes)
    assert count >= 60


def dense(sizes: list[int], seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.Tanh()]
    return nn.Sequential(*layers)


class Towers(nn.Module):
    """Three networks on entries 0-3, 2-5 and 6-7, joined; or the first and the last of them, added."""

    def __init__(self, *, added: bool) -> None:
        super().__init__()
        self.towers, self.added = nn.ModuleList([dense([n, 8, 4], n) for n in (4, 3, 2)]), added

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [tower(x[:, start:stop]) for tower, start, stop in zip(self.towers, (0, 3, 6), (4, 6, 8), strict=True)]
        return parts[0] + 2 * parts[2] if self.added else torch.cat(parts, 1)


@pytest.mark.parametrize("added", [False, True])
def test_towers_on_parts_of_one_activation(added: bool) -> None:
    network = Towers(added=added)
    graphs = (graph_of(tower, (n,)) for tower, n in zip(network.towers, (4, 3, 2), strict=True))
    a, b, c = (float(network_bound(graph, bound="product").upper) for graph in graphs)
    truth = np.hypot(a, 2 * c) if added else max(np.hypot(a, b), c)
    bound = network_bound(graph_of(network, (8,)), bound="product")
    assert bound.upper == pytest.approx(truth, rel=1e-9)
    assert any(layer.rule == "separate parts" for layer in bound.layers)
    jacobian = torch.func.jacrev(lambda v: network(v[None])[0])(torch.zeros(8))
    assert np.linalg.norm(jacobian.detach().numpy(), 2) <= bound.upper


def test_halves_that_are_shuffled() -> None:
    """One half passes a network of norm 1 and the other nothing, four times."""
    bound = network_bound(acceptance.real("br_SplitConcat.onnx"))
    assert 0.9 <= bound.upper <= 1.00001


def test_parts_within_parts_are_looked_at_once() -> None:
    """Forty levels, of which each visits the one inside: not 2^40 visits."""

    def nested(x: torch.Tensor, depth: int) -> torch.Tensor:
        if not depth:
            return torch.relu(x)
        return torch.tanh(torch.cat([torch.sigmoid(x[:, :1]), nested(torch.relu(x[:, 1:]), depth - 1)], 1))

    assert network_bound(graph_of(Function(lambda x: nested(x, 40)), (42,))).upper == pytest.approx(1, rel=1e-6)


def deep(width: int = 4) -> nn.Module:
    """Two dense layers with activations between them, which are no forms."""
    torch.manual_seed(width)
    return nn.Sequential(nn.Linear(width, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))


class Meeting(nn.Module):
    """Two deep branches of one activation that meet."""

    def __init__(self, how: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], *, apart: bool = False) -> None:
        super().__init__()
        self.first, self.second, self.how, self.apart = deep(3 if apart else 4), deep(3 if apart else 4), how, apart

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = (x[:, :3], x[:, 1:]) if self.apart else (x, x)
        return self.how(self.first(a), self.second(b))


MEETINGS: dict[str, tuple[nn.Module, str]] = {
    "added": (Residual(deep()), "Add"),
    "subtracted": (Meeting(lambda a, b: a - b), "Sub"),
    "joined": (Meeting(lambda a, b: torch.cat([a, b], 1)), "Concat"),
    "the larger": (Meeting(torch.maximum), "Max"),
    "the smaller": (Meeting(torch.minimum), "Min"),
    "chosen": (Meeting(lambda a, b: torch.where(a > b, a, b)), "Max"),
    "joined, of entries that both read": (Meeting(lambda a, b: torch.cat([a, b], 1), apart=True), "Concat"),
    "more kinks than are tried": (Function(lambda x: torch.relu(x - x.amax(1, keepdim=True))), "Sub"),
}


@pytest.mark.parametrize("meeting", MEETINGS)
def test_what_independent_branches_cost_is_told(meeting: str) -> None:
    network, operator = MEETINGS[meeting]
    bound = network_bound(graph_of(network, (16,) if isinstance(network, Function) else (4,)), bound="product")
    met = [layer for layer in bound.layers if layer.operator == operator]
    assert met and all(layer.share is not None and layer.share > 0 for layer in met)
    assert bound.notes[-1].startswith("branches that meet in node")
    assert all(f"{layer.index} ({layer.operator})" in bound.notes[-1] for layer in met)
