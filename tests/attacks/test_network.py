from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from radii.attacks import NotAttackable, attack_network
from radii.graph import read_onnx, to_module, undecorated
from radii.lipschitz import margin_radius, network_bound
from radii.norms import Norm, converted
from tests.workers.harness import EXAMPLES

DUAL = {"l2": 2, "linf": 1, "l1": np.inf}


@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
def test_the_nearest_adversarial_input_of_a_linear_classifier(norm: Norm) -> None:
    draw = np.random.default_rng(0)
    for classes in (2, 4):
        for _ in range(5):
            w, x = draw.standard_normal((classes, 20)), draw.standard_normal(20)
            weight, z = torch.from_numpy(w), w @ x
            y = int(z.argmax())
            exact = min((z[y] - z[j]) / np.linalg.norm(w[y] - w[j], DUAL[norm]) for j in range(classes) if j != y)

            def classifier(points: Tensor, weight: Tensor = weight) -> Tensor:
                return points @ weight.T

            ask: dict[str, Any] = {"prediction": y, "norm": norm}
            held = attack_network(classifier, torch.from_numpy(x), radius=exact, **ask)
            assert held.distance is not None and exact <= held.distance <= 1.01 * exact
            assert not held.contradicted and held.x is None
            false = attack_network(classifier, torch.from_numpy(x), radius=1.02 * exact, **ask)
            assert false.contradicted and false.x is not None
            assert int((w @ false.x).argmax()) == false.prediction != y
            assert np.linalg.norm(false.x - x, {"l2": 2, "linf": np.inf, "l1": 1}[norm]) < 1.02 * exact


def test_radii_of_a_real_network_hold_and_false_ones_are_caught() -> None:
    """The order of a broken bound: radii made too large are found out, the true ones never are."""
    graph = undecorated(read_onnx((EXAMPLES / "digits-lipschitz.onnx").read_bytes()))
    module, bound = to_module(graph, dtype=torch.float64), network_bound(graph)
    x = torch.from_numpy(np.load(EXAMPLES / "digits.npz")["x"][:12]).double()
    with torch.inference_mode():
        margins = margin_radius(module(x), bound, norms=x.flatten(1).norm(dim=1))
    caught = 0
    for row, margin in zip(x, margins, strict=True):
        assert margin.radius is not None and margin.prediction is not None
        for norm in ("l2", "linf", "l1"):
            radius = converted(margin.radius, norm, row.numel())
            found = attack_network(module, row, prediction=margin.prediction, radius=radius, norm=norm)
            assert not found.contradicted
            assert found.distance is not None and found.distance >= radius
        caught += attack_network(module, row, prediction=margin.prediction, radius=4 * margin.radius).contradicted
    assert caught >= 6


def test_gradient_descent_finds_what_lies_behind_a_bend() -> None:
    """A network whose gradient at the input points away from the nearest boundary."""
    first, last = nn.Linear(2, 2, bias=False), nn.Linear(2, 2)
    net = nn.Sequential(first, nn.ReLU(), last).double()
    with torch.no_grad():
        first.weight.copy_(torch.eye(2))
        last.weight.copy_(torch.tensor([[0.0, 0.0], [0.0, 10.0]]))
        last.bias.copy_(torch.tensor([1.0, 0.0]))
    x = torch.tensor([0.0, 0.01], dtype=torch.float64)  # class 1 from 0.1 on
    found = attack_network(net, x, prediction=0, radius=0.5)
    assert found.contradicted and found.distance == pytest.approx(0.09, rel=0.01)


def test_a_class_that_is_ruled_out_by_a_huge_logit_hides_no_other() -> None:
    def classifier(points: Tensor) -> Tensor:
        return torch.cat([points, -points, torch.full_like(points, -1e12)], 1)

    x = torch.tensor([0.1], dtype=torch.float64)
    found = attack_network(classifier, x, prediction=0, radius=0.2)
    assert found.contradicted and found.distance == pytest.approx(0.1, rel=1e-3)


def test_what_rounding_may_have_done_is_no_evidence() -> None:
    """Around 1e12 float64 knows values to 6e-5: the computed boundary is not where the true one is, at 5e-5."""

    def classifier(points: Tensor) -> Tensor:
        return torch.cat([(points + 1e12) - 1e12, torch.full_like(points, 5e-5)], 1)

    x = torch.tensor([1e-4], dtype=torch.float64)
    claim: dict[str, Any] = {"prediction": 0, "radius": 4.9e-5}
    assert attack_network(classifier, x, **claim).contradicted
    assert not attack_network(classifier, x, **claim, error=lambda norm: 1e12 * 2.0**-53).contradicted
    # it is that of the point that is judged: one that grows away from the input forgives what lies there
    assert not attack_network(classifier, x, **claim, error=lambda norm: 1.0 if norm < 9e-5 else 0.0).contradicted


def test_a_step_has_no_gradient_and_what_is_not_differentiable_says_so() -> None:
    x = torch.zeros(3, dtype=torch.float64)
    steps = attack_network(lambda p: torch.stack([1 + 0 * p.sum(1), p.sum(1).round()], 1), x, prediction=0, radius=1.0)
    assert steps.distance is None and not steps.contradicted
    with pytest.raises(NotAttackable):
        attack_network(lambda p: torch.ones(len(p), 2, dtype=torch.float64), x, prediction=0, radius=1.0)
    with pytest.raises(ValueError, match="float64"):
        attack_network(lambda p: p, x.float(), prediction=0, radius=1.0)
