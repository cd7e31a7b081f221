"""The attack on splitting noise: what it finds is there, and true radii hold."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from radii.attacks import NotAttackable, attack_splitting
from radii.smoothing import Splitting, certify_splitting

PERIOD = 40
SPLITTING = Splitting(PERIOD / (255 * 2 * math.sqrt(3)))


def winding(seed: int, values: int) -> torch.nn.Module:
    """A classifier of three classes with many turns."""
    weight = torch.from_numpy(np.random.default_rng(seed).standard_normal((values, 3))).float() * 25

    class Winding(torch.nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            return torch.sin(batch.flatten(1) @ weight)

    return Winding().eval()


def certified(classifier: torch.nn.Module, x: Tensor) -> tuple[int | None, int]:
    """Class and radius in grid steps."""
    found = certify_splitting(classifier, x, num_classes=3, splitting=SPLITTING)
    return found.pilot_class, 0 if found.radius is None else round(found.radius * 255)


@pytest.mark.parametrize("shape", [(2,), (1, 3, 3), (100,)])
def test_true_radii_hold_and_false_ones_are_contradicted_by_evidence(shape: tuple[int, ...]) -> None:
    contradicted = 0
    for seed in range(8):
        classifier = winding(seed, math.prod(shape))
        x = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape) / np.float32(255)).float()
        prediction, steps = certified(classifier, x)
        if prediction is None or not steps:
            continue
        ask: dict[str, Any] = {"splitting": SPLITTING, "num_classes": 3, "prediction": prediction}
        found = attack_splitting(classifier, x, steps=steps, **ask)
        assert not found.contradicted and found.x is None
        assert found.distance is None or found.distance > steps / 255
        for false in (steps + 5, steps + 40):
            found = attack_splitting(classifier, x, steps=false, **ask)
            if found.contradicted:
                assert found.x is not None
                moved = np.abs(found.x.astype(float) - x.double().numpy()) * 255
                assert np.allclose(moved, moved.round(), atol=1e-4) and moved.sum().round() <= false
                assert found.distance == pytest.approx(moved.sum() / 255, abs=1e-6)
                assert certified(classifier, torch.from_numpy(found.x))[0] == found.prediction != prediction
                contradicted += 1
    assert contradicted >= 4


def test_the_distance_is_no_less_than_the_nearest_by_enumeration() -> None:
    classifier = winding(3, 2)
    x = torch.tensor([120.0, 77.0]) / 255
    prediction, steps = certified(classifier, x)
    assert prediction is not None and steps
    found = attack_splitting(classifier, x, splitting=SPLITTING, num_classes=3, prediction=prediction, steps=steps)
    reach = range(-40, 41)
    nearest = min(
        abs(a) + abs(b)
        for a, b in itertools.product(reach, reach)
        if abs(a) + abs(b) <= 40
        and abs(a) + abs(b) > steps
        and certified(classifier, torch.tensor([120.0 + a, 77.0 + b]) / 255)[0] != prediction
    )
    assert found.distance is not None and round(found.distance * 255) >= nearest > steps


def test_an_end_that_hides_margins_does_not_hide_the_way() -> None:
    class Probabilities(torch.nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            return logits(batch).softmax(1)

    def logits(batch: Tensor) -> Tensor:
        lead = 1e4 * (batch.sum(1) - 0.5)
        return torch.stack([lead, 0 * lead, 0 * lead - 1e4], 1)

    x = torch.ones(3)
    prediction, steps = certified(Probabilities().eval(), x)
    assert prediction == 0 and steps
    ask: dict[str, Any] = {"splitting": SPLITTING, "num_classes": 3, "prediction": 0}
    assert not attack_splitting(Probabilities().eval(), x, steps=steps, logits=logits, **ask).contradicted
    assert attack_splitting(Probabilities().eval(), x, steps=765, logits=logits, **ask).contradicted
    with pytest.raises(NotAttackable, match="zero"):
        attack_splitting(Probabilities().eval(), x, steps=steps, **ask)


def test_what_has_no_gradient_is_not_attacked() -> None:
    class Steps(torch.nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            return torch.stack([batch[:, 0] * 0 + 1, batch[:, 0] * 0], 1)

    class Whole(torch.nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            return torch.stack([(batch.detach()[:, 0] < 0.5).float(), (batch.detach()[:, 0] >= 0.5).float()], 1)

    for network, reason in ((Steps(), "zero"), (Whole(), "not differentiable")):
        with pytest.raises(NotAttackable, match=reason):
            attack_splitting(network.eval(), torch.zeros(3), splitting=SPLITTING, num_classes=2, prediction=0, steps=3)
    with pytest.raises(ValueError, match=r"^x: "):
        attack_splitting(
            Steps().eval(), torch.full((3,), 0.3), splitting=SPLITTING, num_classes=2, prediction=0, steps=3
        )
