"""Losses against their formulas, by NumPy, closed forms and the probabilities that they are about."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp, softmax
from scipy.stats import entropy

from radii.training import (
    SoftScoreLoss,
    activation_decay,
    activation_margin,
    consistency,
    lmt_margin,
    margin_cross_entropy,
    noisy,
    noisy_cross_entropy,
)

RNG = np.random.default_rng(0)
LOGITS, LABELS = RNG.standard_normal((6, 4)), RNG.integers(0, 4, 6)
COPIES = RNG.standard_normal((3, 6, 4))
Z, Y, C = torch.from_numpy(LOGITS), torch.from_numpy(LABELS), torch.from_numpy(COPIES)
OWN = np.eye(4)[LABELS]


def cross_entropy(logits: np.ndarray) -> np.ndarray:
    made: np.ndarray = -log_softmax(logits, axis=-1)[..., np.arange(6), LABELS]
    return made


def test_margins() -> None:
    assert margin_cross_entropy(Z, Y).item() == pytest.approx(cross_entropy(LOGITS).mean(), rel=1e-14)
    bethune = margin_cross_entropy(Z, Y, temperature=1 / 8).item()
    assert bethune == pytest.approx(cross_entropy(8 * LOGITS).mean() / 8, rel=1e-14)
    offset = margin_cross_entropy(Z, Y, margin=0.5, temperature=0.1).item()
    assert offset == pytest.approx(0.1 * cross_entropy((LOGITS - 0.5 * OWN) / 0.1).mean(), rel=1e-13)
    each = np.arange(6) / 3
    assert margin_cross_entropy(Z, Y, margin=torch.from_numpy(each)).item() == pytest.approx(
        cross_entropy(LOGITS - each[:, None] * OWN).mean(), rel=1e-14
    )


def test_the_margin_of_lmt_is_lost_within_the_radius_and_no_further() -> None:
    """Of a linear map with orthogonal rows of length L, whose logits the nearest change of that norm makes equal."""
    lipschitz, radius = 3.0, 0.2
    margin = float(lmt_margin(radius, lipschitz))
    direction = np.array([-1, 1]) / math.sqrt(2)
    logits = np.array([margin, 0.0]) + lipschitz * np.eye(2) @ direction * radius
    assert logits[0] == pytest.approx(logits[1])
    weight = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    loss = margin_cross_entropy(Z, Y, margin=lmt_margin(0.1, weight))
    (gradient,) = torch.autograd.grad(loss, weight)
    assert gradient > 0  # a larger constant asks for more


def test_activation_decay_bounds_the_loss_under_noise_of_the_last_layer() -> None:
    """One sample with ``h = (3, 4)``, ``z = (2, 0, -1)``: in closed form, and against 200,000 noisy weights.

    The mean's standard error is below 1e-3; it is compared at 6 of them, which errs once in 1e8.
    """
    h, z, y = torch.tensor([[3.0, 4.0]]).double(), torch.tensor([[2.0, 0.0, -1.0]]).double(), torch.tensor([0])
    plain = math.log(1 + math.exp(-2) + math.exp(-3))
    assert margin_cross_entropy(z, y).item() == pytest.approx(plain, rel=1e-14)
    assert activation_decay(h, 0.1).item() == pytest.approx(0.125, rel=1e-14)
    assert activation_decay(h, 0.1, bias=True).item() == pytest.approx(0.13, rel=1e-14)
    sharper = margin_cross_entropy(z, y, margin=activation_margin(h, 0.1)).item()
    assert sharper == pytest.approx(math.log(1 + (math.exp(-2) + math.exp(-3)) * math.exp(0.25)), rel=1e-14)
    noise = 0.1 * 5 * np.random.default_rng(1).standard_normal((200_000, 3))  # sigma E h
    losses = -log_softmax(z.numpy() + noise, axis=1)[:, 0]
    mean, error = losses.mean(), losses.std() / math.sqrt(len(losses))
    assert error < 1e-3
    assert plain - 6 * error <= mean <= min(plain + 0.125, sharper) + 6 * error


def test_noise_is_that_of_smoothing() -> None:
    """Its variance: 60,000 values err by 0.6 % (one standard error); 5 % is 8 of them."""
    x = torch.randn(100, 3, 5, generator=torch.Generator().manual_seed(0))
    made = noisy(x, 0.25, copies=40, generator=torch.Generator().manual_seed(1))
    assert made.shape == (40, 100, 3, 5)
    assert float((made - x).square().mean()) == pytest.approx(0.25**2, rel=0.05)


def test_losses_of_copies() -> None:
    assert noisy_cross_entropy(C, Y).item() == pytest.approx(cross_entropy(COPIES).mean(), rel=1e-14)
    each = softmax(COPIES, axis=-1)
    mean = each.mean(axis=0)
    expected = entropy(np.broadcast_to(mean, each.shape), each, axis=-1).mean() + 0.3 * entropy(mean, axis=-1).mean()
    assert consistency(C, entropy=0.3).item() == pytest.approx(expected, rel=1e-12)
    same = torch.from_numpy(np.broadcast_to(COPIES[:1], COPIES.shape).copy())
    assert consistency(same, entropy=0.0).item() == pytest.approx(0, abs=1e-15)


def test_soft_scores() -> None:
    loss = SoftScoreLoss(2.0).double()
    expected = -(logsumexp(log_softmax(2 * COPIES, axis=-1), axis=0) - math.log(3))[np.arange(6), LABELS].mean()
    assert loss(C, Y).item() == pytest.approx(expected, rel=1e-6)  # the factor is a float32's logarithm
    assert torch.autograd.gradcheck(lambda z: loss(z, Y), C.clone().requires_grad_())
    loss(C, Y).backward()
    assert loss.log_factor.grad is not None and float(loss.log_factor.grad) != 0
