"""Network bounds: nothing found by sampling, attack or differentiation exceeds them, and closed forms are met."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from radii.graph import Graph, Node, UnsupportedModel, normalized, read_onnx, to_canonical, to_module
from radii.lipschitz import UnboundedModel, matrix_norm, network_bound
from radii.lipschitz.dense.matrix import NormBound
from radii.lipschitz.network import norms as norms_module
from tests import acceptance
from tests.graph.export import export
from tests.graph.networks import NETWORKS, trained
from tests.lipschitz.network.operators import new_operator

RNG = np.random.default_rng(0)


class Residual(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class Sides(nn.Module):
    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.left(x), self.right(x)], dim=1)


def graph_of(network: nn.Module, shape: tuple[int, ...]) -> Graph:
    return read_onnx(export(network.double().float().eval(), shape, dynamo=False, opset=17, dynamic=True))


def linear(weight: np.ndarray, bias: list[float] | np.ndarray | None = None) -> Graph:
    """The graph of one dense layer."""
    operator = new_operator("Gemm", np.asarray(weight), None if bias is None else np.asarray(bias))
    return Graph.build("x", (len(weight[0]),), "y", [Node(operator, ("x",), "y", 0)])


def steepest(
    module: nn.Module, shape: tuple[int, ...], label: int, *, steps: int = 12, seed: int = 0
) -> tuple[float, np.ndarray]:
    """The largest slopes met on a walk along the steepest direction: of all logits, and of differences of two."""
    x = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    whole, pairs = 0.0, torch.zeros(())
    for _ in range(steps):
        jacobian = torch.func.jacrev(lambda v: module(v[None])[0])(x).flatten(1)
        _, norms, directions = torch.linalg.svd(jacobian, full_matrices=False)
        slopes = (jacobian[label] - jacobian).norm(dim=1)
        whole = max(whole, norms[0].item())
        pairs = torch.maximum(pairs, slopes)
        x = x + 0.3 * directions[0].reshape(shape)
    return whole, pairs.numpy()


@pytest.mark.parametrize("name", NETWORKS)
def test_no_slope_exceeds_the_bound(name: str) -> None:
    shape = NETWORKS[name][1]
    graph = graph_of(trained(name), shape)
    bound = network_bound(graph)
    module = to_module(graph, dtype=torch.float64)
    for seed in range(2):
        whole, pairs = steepest(module, shape, 1, seed=seed)
        assert 0 < whole <= bound.upper
        assert (pairs <= bound.pairs(1)).all()
    assert bound.pairwise is not None
    assert bound.smallest_pair <= np.sqrt(2) * bound.upper * (1 + 1e-12)


@pytest.mark.parametrize(
    ("network", "upper"),
    [
        (lambda w: nn.Sequential(w), lambda l: l),
        (lambda w: nn.Sequential(Residual(w, nn.ReLU())), lambda l: 1 + l),
        (lambda w: nn.Sequential(Residual(Residual(w, nn.Tanh()))), lambda l: 2 + l),
        (lambda w: Sides(w, nn.Tanh()), lambda l: np.hypot(l, 1)),
        (lambda w: nn.Sequential(w, nn.ELU(2.0), w, nn.Softmax(1)), lambda l: l * 2 * l / 2),
    ],
    ids=["dense", "residual", "residual of residual", "concat", "softmax"],
)
def test_composition(network: Callable[[nn.Module], nn.Module], upper: Callable[[float], float]) -> None:
    torch.manual_seed(1)
    layer = nn.Linear(5, 5)
    bound = network_bound(graph_of(network(layer), (5,)), bound="product", task="regressor")
    expected = upper(float(np.linalg.norm(layer.weight.detach().double().numpy(), 2)))
    assert expected * (1 - 1e-13) <= bound.upper <= expected * (1 + 1e-6)


EQUATIONS = [
    "bti,io->bto",
    "oi,bti->bto",
    "bti,iho->btho",
    "bti,tio->bto",
    "bti,tio->bot",
    "bti,ti->bti",
    "bti,tio->bo",
]


@pytest.mark.parametrize("equation", EQUATIONS)
def test_a_constant_matrix_by_einsum(equation: str) -> None:
    """Whatever the order of its letters: the norm of the map, by SVD of its matrix."""
    sizes = {"t": 3, "i": 4, "o": 5, "h": 2}
    left, _, _ = equation.partition("->")
    first = not left.startswith("b")
    (letters,) = (term for term in left.split(",") if not term.startswith("b"))
    weight = RNG.standard_normal([sizes[letter] for letter in letters])
    operator = new_operator("Einsum", equation, weight, first)
    graph = Graph.build("x", (3, 4), "y", [Node(operator, ("x",), "y", 0)])
    basis = torch.eye(12, dtype=torch.float64).reshape(12, 3, 4)
    truth = np.linalg.norm(to_module(graph, dtype=torch.float64)(basis).flatten(1).numpy(), 2)
    bound = network_bound(graph, task="regressor")
    assert truth * (1 - 1e-13) <= bound.upper <= truth * (1 + 1e-6)


def test_a_dense_network_by_einsum_is_that_by_matmul() -> None:
    """One with a hidden activation, for which the sharper rules need the matrices themselves."""
    (first, second), bounds = (RNG.standard_normal(shape) for shape in ((4, 6), (6, 3))), []
    for layers in (
        [new_operator("Einsum", "bti,io->bto", weight, False) for weight in (first, second)],
        [new_operator("MatMul", weight.T.copy()) for weight in (first, second)],
    ):
        steps = [layers[0], new_operator("Relu"), layers[1], new_operator("Reshape", (9,))]
        nodes = [Node(operator, (str(i),), str(i + 1), i) for i, operator in enumerate(steps)]
        bounds.append(network_bound(Graph.build("0", (3, 4), "4", nodes)))
    assert bounds[0].rule == bounds[1].rule != "product"
    assert bounds[0].upper == pytest.approx(bounds[1].upper, rel=1e-9)


def test_residuals_without_an_activation_are_one_matrix() -> None:
    torch.manual_seed(1)
    layer = nn.Linear(5, 5)
    bound = network_bound(graph_of(Residual(Residual(layer)), (5,)), bound="product", task="regressor")
    truth = np.linalg.norm(2 * np.eye(5) + layer.weight.detach().double().numpy(), 2)
    assert truth * (1 - 1e-13) <= bound.upper <= truth * (1 + 1e-6)


def test_pairs_of_a_linear_classifier_are_distances_of_rows() -> None:
    weight = RNG.standard_normal((6, 9))
    weight[4] = weight[2]
    bound = network_bound(linear(weight))
    distances = np.linalg.norm(weight[:, None] - weight, axis=2)
    assert bound.pairwise is not None and (bound.pairwise >= distances).all()
    assert (bound.pairwise <= distances * (1 + 1e-6)).all()
    assert bound.pairwise[2, 4] == 0


@pytest.mark.parametrize(("scale", "exponent"), [(1.0, 0), (1e-150, 0), (1.0, -250), (1.0, 250)])
def test_pairs_at_any_scale(scale: float, exponent: int) -> None:
    base = RNG.standard_normal((3, 4))
    weight = (base + scale * RNG.standard_normal((3, 4))) * 10.0**exponent
    weight[1] = weight[0]
    weight[1, 0] = np.nextafter(weight[0, 0], np.inf)
    bound = network_bound(linear(weight))
    assert bound.pairwise is not None and bound.pairwise[0, 1] >= weight[1, 0] - weight[0, 0] > 0


def test_what_follows_the_last_layer() -> None:
    torch.manual_seed(2)
    head = nn.Linear(5, 4)
    plain = network_bound(graph_of(head, (5,)))
    bent = network_bound(graph_of(nn.Sequential(head, nn.ReLU()), (5,)))
    assert bent.pairwise is None  # relu(u)_y - relu(u)_j can be steeper than u_y - u_j
    assert bent.upper == plain.upper
    assert bent.pairs(0)[1] == pytest.approx(np.sqrt(2) * bent.upper)
    assert bent.pairs(0)[0] == 0
    whole, pairs = steepest(to_module(graph_of(nn.Sequential(head, nn.ReLU()), (5,)), dtype=torch.float64), (5,), 0)
    assert whole <= bent.upper
    assert (pairs <= bent.pairs(0)).all()


def test_normalisation_in_front() -> None:
    graph = linear(RNG.standard_normal((3, 4)))
    wide = normalized(graph, 0.5, 0.25)
    assert network_bound(wide).upper == pytest.approx(4 * network_bound(graph).upper, rel=1e-12)
    assert network_bound(wide).upper >= 4 * network_bound(graph).upper


def test_every_obstacle_is_named() -> None:
    nodes = [
        Node(new_operator("Exp"), ("x",), "a", 3, "first"),
        Node(new_operator("Mul"), ("a", "x"), "b", 5, "gate"),
        Node(new_operator("Gemm", np.array([[1.0, np.nan]]), None), ("b",), "y", 8, "broken"),
    ]
    with pytest.raises(UnboundedModel) as caught:
        network_bound(Graph.build("x", (2,), "y", nodes))
    assert [(o.node, o.operator) for o in caught.value.obstacles] == [(3, "Exp"), (5, "Mul"), (8, "Gemm")]
    assert all(obstacle.reason and obstacle.remedy for obstacle in caught.value.obstacles)
    assert "NaN" in str(caught.value)


def test_a_product_that_overflows_is_refused() -> None:
    layer = new_operator("Gemm", np.full((2, 2), 1e200), None)
    nodes = [Node(layer, ("x",), "a", 0), Node(layer, ("a",), "y", 1)]
    with pytest.raises(UnboundedModel, match="overflows"):
        network_bound(Graph.build("x", (2,), "y", nodes))


def test_equal_layers_are_bounded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Counter[str]()

    def counted(weight: np.ndarray, **settings: Any) -> NormBound:
        counts["calls"] += 1
        return matrix_norm(weight, **settings)

    monkeypatch.setattr(norms_module, "matrix_norm", counted)
    weights = RNG.standard_normal((2, 4, 4))
    operators = [new_operator("Gemm", weights[i], None) for i in (0, 1, 0, 0)]
    nodes = [Node(operator, (f"a{i}",), f"a{i + 1}", i) for i, operator in enumerate(operators)]
    bound = network_bound(Graph.build("a0", (4,), "a4", nodes))
    assert counts["calls"] == 2
    assert bound.layers[0].upper == bound.layers[2].upper != bound.layers[1].upper


def test_vacuous_bounds_say_so() -> None:
    assert not network_bound(linear(np.eye(3))).vacuous
    assert network_bound(linear(1e6 * np.eye(3))).vacuous


def test_a_file_is_read_with_the_weights_beside_it(tmp_path: Path) -> None:
    graph = linear(RNG.standard_normal((3, 4)))
    form, weights = to_canonical(graph)
    (tmp_path / "graph.json").write_bytes(form)
    (tmp_path / "weights.safetensors").write_bytes(weights)
    for bound in ("auto", "product"):
        assert network_bound(tmp_path / "graph.json", bound=bound).upper == network_bound(graph).upper


def test_a_file_that_leaves_its_input_open_takes_a_declared_shape() -> None:
    file = acceptance.real("open_pixels.onnx")
    with pytest.raises(UnsupportedModel):
        network_bound(file)
    graph = read_onnx(file.read_bytes(), input_shape=(3, 9, 7))
    assert network_bound(file, input_shape=(3, 9, 7)).upper == network_bound(graph).upper
    assert network_bound(graph, input_shape=(3, 9, 7)).upper == network_bound(graph).upper
    with pytest.raises(ValueError, match="has the shape"):
        network_bound(graph, input_shape=(3, 7, 9))


def test_a_bound_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="auto, product"):
        network_bound(linear(np.eye(2)), bound="tight")  # type: ignore[arg-type]


def test_report() -> None:
    bound = network_bound(graph_of(trained("lenet"), NETWORKS["lenet"][1]), bound="product")
    report = json.loads(json.dumps(bound.to_json(), allow_nan=False))
    assert report["upper"] == bound.upper
    assert report["rule"] == "product"
    assert report["pairwise"]["min"] == bound.smallest_pair
    convolutions = [layer for layer in report["layers"] if layer["rule"] == "convolution"]
    assert len(convolutions) == 2
    assert all(0 < layer["lower"] <= layer["upper"] <= 1.05 * layer["lower"] for layer in convolutions)
    assert sum(layer["share"] or 0 for layer in report["layers"]) == pytest.approx(1, rel=1e-6)
    assert [(layer["shape"], layer["padding"]) for layer in convolutions] == [
        ([6, 1, 5, 5], [[2, 2], [2, 2]]),
        ([16, 6, 5, 5], [[0, 0], [0, 0]]),
    ]
    assert all(0 <= layer["slack"] < 1e-6 for layer in report["layers"])
    assert 0 < sum(layer["seconds"] for layer in report["layers"]) <= report["seconds"] + 1e-3
