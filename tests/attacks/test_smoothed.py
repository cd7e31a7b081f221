from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from radii.attacks import NotAttackable, SmoothedAttack
from radii.graph import read_onnx, to_module, undecorated
from radii.norms import Norm
from radii.smoothing import Noise, certify, gaussian, grid_of, noise_of
from radii.smoothing.simplex import Scoring
from tests.workers.harness import EXAMPLES

SIGMA = 0.25
DUAL = {"l2": 2, "linf": 1, "l1": np.inf}
KEY = bytes(range(32))


def linear(exact: float, norm: Norm, classes: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Weight, bias and an 8-bit input, ``exact`` away from the nearest other class of f and of g."""
    draw = np.random.default_rng(3)
    w = draw.standard_normal((classes, 20))
    w[2:] *= 0.1
    x = (np.round(draw.uniform(0, 1, 20) * 255) / 255).astype(np.float32)
    bias = -(w @ x)
    bias[0] += exact * np.linalg.norm(w[0] - w[1], DUAL[norm])
    bias[2:] -= 50
    return torch.from_numpy(w).float(), torch.from_numpy(bias).float(), torch.from_numpy(x)


@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
@pytest.mark.parametrize("grid", [False, True])
def test_the_distance_of_a_smoothed_linear_classifier(norm: Norm, grid: bool) -> None:
    """g is f for a linear f. A false radius is caught, and no true one is, but with probability 1e-9 a case."""
    exact = {"l2": 1.5, "linf": 0.4, "l1": 3.0}[norm] * SIGMA
    weight, bias, x = linear(exact, norm, classes=3)

    def classifier(points: Tensor) -> Tensor:
        return points @ weight.T + bias

    ask: dict[str, Any] = {
        "noise": grid_of("gaussian", SIGMA) if grid else gaussian(SIGMA),
        "num_classes": 3,
        "prediction": 0,
        "norm": norm,
        "key": KEY,
    }
    held = SmoothedAttack(votes=10_000)(classifier, x, radius=0.97 * exact, **ask)
    assert not held.contradicted and held.x is None
    assert held.distance == pytest.approx(exact, rel=0.04)
    assert held.prediction == 1
    false = SmoothedAttack()(classifier, x, radius=1.5 * exact, **ask)
    assert false.contradicted and false.prediction == 1 and false.x is not None
    assert np.linalg.norm(false.x.astype(float) - x.numpy(), {"l2": 2, "linf": np.inf, "l1": 1}[norm]) < 1.5 * exact
    again = SmoothedAttack()(classifier, x, radius=1.5 * exact, **ask)
    assert again.x is not None and np.array_equal(again.x, false.x) and again.distance == false.distance


@pytest.mark.parametrize("scoring", [Scoring("hardmax"), Scoring("softmax", 16.0)])
def test_what_the_noise_lacks_is_taken_off_a_proof(scoring: Scoring, monkeypatch: pytest.MonkeyPatch) -> None:
    """A contradiction is of the law that was certified, not of what a source draws in its place."""
    weight, bias, x = linear(1.5 * SIGMA, "l2")
    ask: dict[str, Any] = {"num_classes": 2, "prediction": 0, "key": KEY, "radius": 3 * SIGMA, "scoring": scoring}
    noise = gaussian(SIGMA)
    for lacking, contradicted in ((1e-9, True), (0.45, False)):
        monkeypatch.setattr(type(noise), "tail_mass", lambda self, size, lacking=lacking: lacking)
        found = SmoothedAttack()(lambda points: points @ weight.T + bias, x, noise=noise, **ask)
        assert found.contradicted is contradicted


def test_steep_networks_have_no_vanishing_gradient_nor_do_those_of_steps() -> None:
    weight, bias, x = linear(SIGMA, "l2")
    ask: dict[str, Any] = {"noise": gaussian(SIGMA), "num_classes": 2, "prediction": 0, "key": KEY}
    for steep in (lambda p: 1e6 * (p @ weight.T + bias), lambda p: (p @ weight.T + bias).round().sign()):
        assert SmoothedAttack()(steep, x, radius=2 * SIGMA, **ask).contradicted
        assert not SmoothedAttack()(steep, x, radius=0.9 * SIGMA, **ask).contradicted


@pytest.mark.parametrize(
    "source",
    [grid_of("laplace", SIGMA), noise_of("uniform", SIGMA), grid_of("uniform", SIGMA), noise_of("laplace", SIGMA)],
)
def test_l1_radii_of_other_laws_are_held_against_g_too(source: Noise) -> None:
    """g is f for a linear f under any symmetric law; on the grid, but for half a step."""
    exact = 0.8 * SIGMA
    weight, bias, x = linear(exact, "l1")
    ask: dict[str, Any] = {"noise": source, "num_classes": 2, "prediction": 0, "norm": "l1", "key": KEY}

    def classifier(points: Tensor) -> Tensor:
        return points @ weight.T + bias

    assert not SmoothedAttack()(classifier, x, radius=0.95 * exact, **ask).contradicted
    assert SmoothedAttack()(classifier, x, radius=1.5 * exact, **ask).contradicted


@pytest.mark.parametrize("scoring", [Scoring("softmax", 0.5), Scoring("softmax", 16.0), Scoring("sparsemax", 4.0)])
def test_radii_of_mean_scores_are_held_against_means(scoring: Scoring) -> None:
    """The means of a linear f of two classes change places where f does. Errs with probability 1e-9 a case."""
    exact = 1.2 * SIGMA
    weight, bias, x = linear(exact, "l2")
    ask: dict[str, Any] = {"noise": gaussian(SIGMA), "num_classes": 2, "prediction": 0, "key": KEY, "scoring": scoring}

    def classifier(points: Tensor) -> Tensor:
        return points @ weight.T + bias

    held = SmoothedAttack(votes=10_000)(classifier, x, radius=0.97 * exact, **ask)
    assert not held.contradicted
    assert held.distance == pytest.approx(exact, rel=0.05)
    false = SmoothedAttack()(classifier, x, radius=1.3 * exact, **ask)
    assert false.contradicted and false.prediction == 1 and false.x is not None
    assert np.linalg.norm(false.x.astype(float) - x.numpy()) < 1.3 * exact


def test_a_lead_of_mean_scores_that_may_be_chance_is_no_contradiction() -> None:
    """A lead of 0.006 under noise of 0.3: 10,000 samples do not show it at 1e-9, though half of them are ahead."""

    def classifier(points: Tensor) -> Tensor:
        lead = (points - 1.0).sum(1)
        return torch.stack([torch.zeros_like(lead), 0.8 * lead], 1)

    ask: dict[str, Any] = {
        "noise": gaussian(1.0),
        "num_classes": 2,
        "prediction": 0,
        "key": KEY,
        "scoring": Scoring("softmax"),
    }
    x, inside = torch.tensor([0.0]), 1.02
    assert not SmoothedAttack(steps=30)(classifier, x, radius=inside, **ask).contradicted
    assert SmoothedAttack(steps=30)(classifier, x, radius=1.5, **ask).contradicted


@pytest.mark.parametrize("scale", [1.0, 1e2, 1e6, 1e-6, 1e-30])
@pytest.mark.parametrize(("margin", "grid"), [(17.0, False), (17.0, True), (300.0, False), (1e4, False)])
def test_a_confident_network_is_attacked_whatever_the_scale_of_its_logits(
    margin: float, grid: bool, scale: float
) -> None:
    """The boundary is ``margin`` standard deviations away: a radius beyond it is false, and no vote says so at the
    input. Errs with probability 1e-9 a case."""
    exact = margin * SIGMA
    weight, bias, x = linear(exact, "l2")
    noise = grid_of("gaussian", SIGMA) if grid else gaussian(SIGMA)
    ask: dict[str, Any] = {"noise": noise, "num_classes": 2, "prediction": 0, "key": KEY}

    def classifier(points: Tensor) -> Tensor:
        return scale * (points @ weight.T + bias)

    found = SmoothedAttack()(classifier, x, radius=1.5 * exact, **ask)
    assert found.contradicted and found.prediction == 1 and found.x is not None
    assert np.linalg.norm(found.x.astype(float) - x.numpy()) < 1.5 * exact
    assert found.distance == pytest.approx(exact, rel=0.1)
    held = SmoothedAttack()(classifier, x, radius=0.9 * exact, **ask)
    assert not held.contradicted and held.distance == pytest.approx(exact, rel=0.1)
    top = SmoothedAttack()(classifier, x, radius=3.7 * SIGMA, **ask)  # what 100,000 votes that agree certify
    assert not top.contradicted


@pytest.mark.parametrize("end", [lambda z: z.softmax(1), torch.sigmoid])
def test_an_end_that_hides_margins_does_not_hide_the_way(end: Callable[[Tensor], Tensor]) -> None:
    """Votes are those of the network as it is, where they turn is found by its logits."""
    exact = 20 * SIGMA
    weight, bias, x = linear(exact, "l2")
    ask: dict[str, Any] = {"noise": gaussian(SIGMA), "num_classes": 2, "prediction": 0, "key": KEY}

    def logits(points: Tensor) -> Tensor:
        z = points @ weight.T + bias
        return 20 * torch.stack([z[:, 0] - z[:, 1], torch.zeros_like(z[:, 0])], 1)

    found = SmoothedAttack()(lambda points: end(logits(points)), x, radius=1.5 * exact, logits=logits, **ask)
    assert found.contradicted and found.prediction == 1


def test_without_a_gradient_differences_of_margins_show_the_way() -> None:
    """A network of whole numbers, whose gradient is zero, and one that torch can't differentiate."""
    exact = 5 * SIGMA
    weight, bias, x = linear(exact, "l2")
    ask: dict[str, Any] = {"noise": gaussian(SIGMA), "num_classes": 2, "prediction": 0, "key": KEY}
    for classifier in (
        lambda points: (points @ weight.T + bias).round(),
        lambda points: points.detach() @ weight.T + bias,
    ):
        assert SmoothedAttack()(classifier, x, radius=1.5 * exact, **ask).contradicted
        held = SmoothedAttack(votes=10_000)(classifier, x, radius=0.9 * exact, **ask)
        assert not held.contradicted and held.distance is not None and held.distance < 1.5 * exact


def test_what_can_not_be_attacked_says_why() -> None:
    ask: dict[str, Any] = {"noise": gaussian(SIGMA), "num_classes": 2, "prediction": 0, "key": KEY}
    x, constant = torch.zeros(3), torch.tensor([1.0, 0.0])
    for classifier, reason in (
        (lambda points: 0 * points[:, :2] + constant, "its gradient is zero, and its margin is the same"),
        (lambda points: constant.expand(len(points), 2), "not differentiable, and its margin is the same"),
        (lambda points: points[:, :2] * torch.nan, "its logits are not finite"),
    ):
        with pytest.raises(NotAttackable, match=reason):
            SmoothedAttack()(classifier, x, radius=SIGMA, **ask)


def test_certificates_at_the_very_top_of_a_real_network_are_attacked() -> None:
    """All votes agree; logits a hundred times as large change no answer, and none of the attack."""
    network = to_module(undecorated(read_onnx((EXAMPLES / "digits.onnx").read_bytes())))
    noise, attacked = gaussian(0.1), 0
    for row in np.load(EXAMPLES / "digits.npz")["x"][:4]:
        x = torch.from_numpy(row)
        certified = certify(network, x, num_classes=10, noise=noise, alpha=0.001, n0=100, n=1000, key=KEY)
        if certified.radius is None or max(certified.counts) < 1000:
            continue
        attacked += 1
        ask: dict[str, Any] = {"noise": noise, "num_classes": 10, "prediction": certified.prediction, "key": KEY}
        for scale in (1.0, 1e2):

            def scaled(p: Tensor, scale: float = scale) -> Tensor:
                return scale * network(p)

            found = SmoothedAttack()(scaled, x, radius=certified.radius, **ask)
            assert not found.contradicted
            false = SmoothedAttack()(scaled, x, radius=4.0, **ask)
            assert false.contradicted and false.distance is not None and false.distance > certified.radius
    assert attacked >= 2


@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
@pytest.mark.parametrize("sigma", [1e-28, 1e-22, 0.5])
def test_radii_whose_squares_float32_can_not_hold(sigma: float, norm: Norm) -> None:
    """Around 0, in which float32 holds such distances. A true radius is contradicted with probability 1e-9 a case."""
    weight = torch.from_numpy(np.random.default_rng(3).standard_normal((2, 20)) / sigma)
    bias = torch.zeros(2, dtype=torch.float64)
    bias[0] = float(np.linalg.norm(weight[0] - weight[1], DUAL[norm])) * sigma

    def classifier(points: Tensor) -> Tensor:
        return points.double() @ weight.T + bias

    ask: dict[str, Any] = {"noise": gaussian(sigma), "num_classes": 2, "prediction": 0, "norm": norm, "key": KEY}
    held, false = (SmoothedAttack()(classifier, torch.zeros(20), radius=r * sigma, **ask) for r in (0.9, 1.4))
    assert not held.contradicted and held.distance == pytest.approx(sigma, rel=0.1)
    assert false.contradicted


@pytest.mark.parametrize("radius", [1e-40, 1e-300])
def test_a_radius_that_moves_no_input_is_attacked_too(radius: float) -> None:
    """As of a target that was chosen so."""
    weight, bias, x = linear(0.5, "l2")
    ask: dict[str, Any] = {"noise": gaussian(SIGMA), "num_classes": 2, "prediction": 0, "key": KEY}
    found = SmoothedAttack()(lambda points: points @ weight.T + bias, x, radius=radius, **ask)
    assert not found.contradicted
