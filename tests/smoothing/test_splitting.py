"""Splitting noise against the paper's formula in fractions, and its radii against every perturbation."""

import itertools
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch

from radii.smoothing import Splitting, certify_splitting
from radii.smoothing.prediction import SmoothedPrediction


def sigma_of(period: int, span: int = 1) -> float:
    return period * span / (255 * 2 * math.sqrt(3))


def paper(k: int, cut: Fraction, period: int) -> Fraction:
    """Levine & Feizi's x~ (theorem 2) in steps, of x = k and s = cut."""
    t = (Fraction(k) - cut) / period
    low, high = Fraction(0), Fraction(255)
    return (min(period * math.ceil(t) + cut, high) + max(period * (math.ceil(t) - 1) + cut, low)) / 2


@pytest.mark.parametrize("period", [2, 3, 7, 100, 254, 255, 256, 400, 900])  # from 255 on: one cut at most
@pytest.mark.parametrize("span", [1, 255])
def test_pieces_are_the_papers(period: int, span: int) -> None:
    splitting = Splitting(sigma_of(period, span), 0.0, float(span))
    assert splitting.period == period
    x = (torch.arange(256).float() / 255 * span).view(2, 128)
    if span == 255:
        x = torch.arange(256).float().view(2, 128)
    first = period // 2
    pieces = splitting.pieces(x, first, period - first).reshape(period - first, -1)
    starts = splitting.starts(256)
    for row, offset in list(zip(pieces, range(first, period), strict=True))[:: max(1, period // 9)]:
        cuts = [Fraction(int(start + offset) % period) + Fraction(1, 2) for start in starts]
        exact = [float(paper(k, cut, period) * span / 255) for k, cut in enumerate(cuts)]
        assert np.abs(row.numpy() - exact).max() <= 1e-7 * span


@pytest.mark.parametrize("period", [2, 5, 40, 300])
def test_a_step_alters_one_offset(period: int) -> None:
    """Of every axis and every pair of neighbouring values, with lambda on both sides of one half."""
    splitting = Splitting(sigma_of(period))
    seen = [splitting.pieces(torch.full((4,), k).float() / 255, 0, period) for k in range(256)]
    for one, next_ in itertools.pairwise(seen):
        assert ((one != next_).sum(0) == 1).all()
    assert len(set(splitting.starts(1000))) > min(period, 1000) / 2  # axes are not cut alike


@pytest.mark.parametrize("period", [6, 30, 400])
def test_radii_against_every_perturbation(period: int) -> None:
    """Two axes: within the radius, on the whole grid around, the smoothed class stays."""
    splitting = Splitting(sigma_of(period))
    certified = 0
    for seed in range(6):
        weight = torch.from_numpy(np.random.default_rng(seed).standard_normal((2, 3))).float() * 60

        def classifier(batch: torch.Tensor, weight: torch.Tensor = weight) -> torch.Tensor:
            return torch.sin(batch @ weight)  # winding: many classes on the way

        def predicted(
            k: tuple[int, int], classifier: Callable[[torch.Tensor], torch.Tensor] = classifier
        ) -> SmoothedPrediction:
            x = torch.tensor(k).float() / 255
            return certify_splitting(classifier, x, num_classes=3, splitting=splitting, batch_size=64)

        k = tuple(np.random.default_rng(100 + seed).integers(60, 190, 2).tolist())
        found = predicted(k)
        assert found.n == sum(found.counts) == period and found.alpha == 0 and found.pilot_counts == ()
        if found.radius is None:
            continue
        certified += 1
        steps = round(found.radius * 255)
        assert 0 <= Fraction(steps, 255) - Fraction(found.radius) < Fraction(1, 10**6)
        reach = min(steps, 6)
        for a, b in itertools.product(range(-reach, reach + 1), repeat=2):
            if abs(a) + abs(b) <= reach:
                assert predicted((k[0] + a, k[1] + b)).pilot_class == found.prediction
    assert certified >= 1


def test_a_threshold_in_one_dimension_is_exact() -> None:
    """x >= 1/2 of one value: the radius ends where the smoothed class changes, or one step before."""
    splitting = Splitting(sigma_of(400))

    def classifier(batch: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 - batch, batch - 0.5], 1)

    found = [
        certify_splitting(classifier, torch.tensor([k]).float() / 255, num_classes=2, splitting=splitting)
        for k in range(256)
    ]
    [change] = [k for k in range(1, 256) if found[k].pilot_class != found[k - 1].pilot_class]
    assert {one.prediction for one in found if one.abstained} == {None}  # next to the change no step is certified
    for k, one in enumerate(found):
        distance = change - k if k < change else k - change + 1
        steps = 0 if one.radius is None else round(one.radius * 255)
        assert distance - 2 <= steps < distance


def test_non_finite_logits_are_no_class() -> None:
    splitting = Splitting(sigma_of(10))
    found = certify_splitting(
        lambda b: b.new_full((len(b), 2), math.nan), torch.zeros(3), num_classes=2, splitting=splitting
    )
    assert found.prediction is found.pilot_class is found.radius is None
    assert found.abstained and found.counts == (0, 0, 10)


def test_refusals() -> None:
    for sigma in (0.0, math.nan, 1e-4, 1e9):
        with pytest.raises(ValueError, match=r"^sigma: "):
            Splitting(sigma)
    with pytest.raises(ValueError, match=r"^x: is not on the grid"):
        Splitting(0.25).pieces(torch.tensor([0.1]), 0, 1)
    with pytest.raises(ValueError, match=r"^counts: add up to 3"):
        Splitting(0.25).certificate([1, 2, 0])
