"""Cut to the end, a radius is the distance of the nearest change of class."""

import numpy as np
import pytest
import torch

from radii.attacks import attack_network
from radii.graph import read_onnx, to_module
from radii.local import Network, certify, margins
from radii.local.branching import Branching
from radii.local.region import Region
from radii.local.slack import certified
from radii.norms import Norm
from tests.local.truths import Chain, nearest_change

NORMS: list[Norm] = ["l2", "linf", "l1"]
CASES: list[tuple[float, tuple[int, ...], Norm]] = [
    *((0.0, (2, 6, 6, 3), norm) for norm in NORMS),
    (-1.0, (3, 6, 3), "linf"),
    (0.25, (3, 12, 3), "l2"),
]


def clear(network: Chain, rng: np.random.Generator, width: int) -> np.ndarray:
    """(1, width) the input of the clearest class of a few."""
    x = rng.normal(size=(64, width))
    logits = np.sort(network(x), axis=1)
    return x[[int((logits[:, -1] - logits[:, -2]).argmax())]]


@pytest.mark.parametrize(("slope", "widths", "norm"), CASES)
def test_the_exact_radius_of_up_to_twelve_units(slope: float, widths: tuple[int, ...], norm: Norm) -> None:
    rng = np.random.default_rng(11)
    while True:
        network, x = Chain.drawn(widths, rng, slope), rng.normal(size=(1, widths[0]))
        nearest, _ = nearest_change(network, x[0], norm)
        if 0.1 < nearest < 10:
            break
    graph, label = read_onnx(network.onnx()), network(x).argmax(1)
    [quick], [high] = (certify(graph, x, label, norm=norm, effort=effort) for effort in ("quick", "high"))
    assert quick.radius <= high.radius <= nearest * (1 + 1e-12)
    assert high.radius >= nearest * (1 - 1e-9)
    assert not high.notes


def test_a_box_is_cut_to_the_end_too() -> None:
    """In linf the ball's part within a range is a box, here one that leaves the nearest change of class out."""
    rng = np.random.default_rng(3)
    while True:
        network, x = Chain.drawn((2, 4, 4, 3), rng), rng.normal(size=(1, 2))
        label = network(x).argmax(1)
        lo, hi = x[0] - 0.1, x[0] + 2.0
        grid = np.stack(np.meshgrid(*np.linspace(lo, hi, 301).T), axis=-1).reshape(-1, 2)
        others = grid[network(grid).argmax(1) != label]
        if len(others) and np.abs(others - x).max(1).min() > 1.5 * nearest_change(network, x[0], "linf")[0]:
            break
    nearest = np.abs(others - x).max(1).min()  # too large by less than a step of the grid
    [found] = certify(read_onnx(network.onnx()), x, label, norm="linf", effort="high", box=(lo, hi), ceiling=[2.0])
    assert nearest - 2.1 / 300 <= found.radius <= nearest


def test_a_budget_that_is_spent_is_said() -> None:
    rng = np.random.default_rng(5)
    network = Chain.drawn((6, 40, 40, 3), rng)
    x = clear(network, rng, 6)
    graph, label = read_onnx(network.onnx()), network(x).argmax(1)
    [few] = certify(graph, x, label, effort="high", budget=40)
    [more] = certify(graph, x, label, effort="high", budget=160)
    assert few.branches <= 40 and more.branches <= 160 and few.radius < more.radius
    assert [note for note in few.notes if "of 40 parts: with more" in note]


def test_sums_of_inequalities_prove_ways() -> None:
    """|x| >= 1/2 and |x| <= 1/4 fail together, neither all over [-1, 1]; |x| >= 1/2 alone does not."""
    absolute = Chain(((np.array([[1.0]]), np.zeros(1)), (np.array([[1.0], [-1.0]]), np.array([-0.5, 0.25]))), -1.0)
    network = Network.of(read_onnx(absolute.onnx()))
    region = Region.box(*(torch.full((1, 1), end, dtype=torch.float64) for end in (-1.0, 1.0)))
    forms = -torch.eye(2, dtype=torch.float64)
    with certified(network.device), torch.no_grad():
        assert Branching(network, region, forms, [slice(0, 2)], 100).proved()
        alone = Branching(network, region, forms, [slice(0, 1)], 100)
        assert not alone.proved() and not alone.spent
    assert float(alone.near[0].abs()) > 0.5


@pytest.mark.parametrize("norm", NORMS)
def test_no_point_is_in_a_part_without_inputs(norm: Norm) -> None:
    """Margins that are proved in parts hold at points: no part was left out."""
    rng = np.random.default_rng(7)
    network, x = Chain.drawn((4, 10, 10, 3), rng), rng.normal(size=(1, 4))
    graph, label = read_onnx(network.onnx()), network(x).argmax(1)
    [found] = certify(graph, x, label, norm=norm, effort="high", budget=300)
    assert found.radius > 0 and (margins(graph, x, label, found.radius, norm=norm) <= 0).any()
    nearest, _ = nearest_change(network, x[0], norm)
    assert found.radius <= nearest * (1 + 1e-12)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_no_attack_inside_of_what_parts_prove(norm: Norm) -> None:
    """Eighty units, of which the budget is spent before all are cut."""
    rng = np.random.default_rng(9)
    network = Chain.drawn((8, 40, 40, 4), rng)
    x = clear(network, rng, 8)
    graph, label = read_onnx(network.onnx()), network(x).argmax(1)
    module = to_module(graph, dtype=torch.float64)
    [quick] = certify(graph, x, label, norm=norm, effort="quick")
    [high] = certify(graph, x, label, norm=norm, effort="high", budget=150)
    assert high.radius > 1.02 * quick.radius and 0 < high.branches <= 150
    attack = attack_network(
        module, torch.from_numpy(x[0]), prediction=int(label[0]), radius=high.radius, norm=norm, steps=50
    )
    assert not attack.contradicted and attack.distance is not None
