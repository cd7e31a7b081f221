"""Mean scores: their bounds hold as often as they must, their radii never exceed the known ones beyond that."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from radii.graph import read_onnx, to_module
from radii.lipschitz import network_bound
from radii.smoothing import Moments, certificate, certify, gaussian, noise_key
from radii.smoothing.sampling import count_chunk, logits_chunk
from radii.smoothing.simplex import Scoring
from radii.smoothing.soft import ScoreChunk, Setting, SoftPrediction, certify_soft, choose

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
ALPHA = 0.05
# of 200 certificates each false with probability 0.05 at most, more than 22 are with chance 3e-4 at most
TRIALS, MOST_FALSE = 200, 22
Draw = Callable[[np.random.Generator, int], np.ndarray]


def from_logits(rng: np.random.Generator, draw: Draw) -> ScoreChunk:
    """A score function over logits that ``draw(rng, size)`` gives, a fresh stream a chunk."""
    streams = iter(rng.spawn(1000))

    def score(number: int, size: int, scoring: Scoring) -> tuple[np.ndarray, Moments]:
        z = draw(next(streams), size)
        return Scoring("hardmax").scores(z).sum(0).astype(int), Moments.of(scoring.scores(z))

    return score


def test_more_than_most_false_would_be_a_surprise() -> None:
    assert stats.binom.sf(MOST_FALSE, TRIALS, ALPHA) < 3e-4


@pytest.mark.parametrize("scoring", [Scoring("softmax", 1.0), Scoring("sparsemax", 0.5)])
def test_bounds_are_false_with_alpha_at_most(scoring: Scoring) -> None:
    """Five classes, of which two are nearly equal rivals: no union over them is paid for, and none is due."""

    def draw(rng: np.random.Generator, size: int) -> np.ndarray:
        return np.array([1.0, 0.6, 0.6, 0.0, -1.0]) + rng.standard_normal((size, 5))

    truth = scoring.scores(draw(np.random.default_rng(99), 400_000)).mean(0)
    spread = 5 / math.sqrt(400_000)
    false = 0
    for trial in range(TRIALS):
        rng = np.random.default_rng(trial)
        setting = Setting(1500, ALPHA, 1.0, 0.0)
        row = certify_soft(choose(draw(rng, 50), setting, [scoring]), from_logits(rng, draw), setting)
        if row.pilot_class == 0:
            false += row.p_lower > truth[0] + spread or row.p_upper < truth[1:].max() - spread
            assert row.p_lower < row.mean[0]
    assert false <= MOST_FALSE


def test_radii_of_a_linear_network_exceed_the_known_one_no_more_often_than_alpha() -> None:
    """Two classes, logits (u, -u), u ~ N(margin, 1): the larger mean score changes where the margin does, whatever the
    map. With n large enough to come near it."""

    def draw(rng: np.random.Generator, size: int) -> np.ndarray:
        u = 0.5 + rng.standard_normal(size)
        return np.stack([u, -u], 1)

    false = near = 0
    for trial in range(TRIALS):
        rng = np.random.default_rng([1, trial])
        setting = Setting(2000, ALPHA, 1.0, 0.0)
        choices = [Scoring("hardmax"), Scoring("softmax", 0.5), Scoring("softmax", 2.0), Scoring("sparsemax", 0.5)]
        row = certify_soft(choose(draw(rng, 100), setting, choices), from_logits(rng, draw), setting)
        if row.prediction == 0 and row.radius is not None:
            false += row.radius > 0.5
            near += row.radius > 0.35
    assert false <= MOST_FALSE
    assert near > TRIALS / 2


def test_the_lipschitz_radius_is_true_where_it_is_known() -> None:
    """sigmoid(2 c u), u a unit functional of the input: smoothed, 1/2 exactly where u = 0, at distance u(x) from x. The
    score is c/2-Lipschitz, the logits sqrt(2) c."""
    sigma, c, u = 0.5, 0.5, 0.8

    def draw(rng: np.random.Generator, size: int) -> np.ndarray:
        v = c * (u + sigma * rng.standard_normal(size))
        return np.stack([v, -v], 1)

    exact, _ = integrate.quad(lambda t: stats.norm.pdf(t) / (1 + math.exp(-2 * c * (u + sigma * t))), -12, 12)
    setting = Setting(20_000, 0.001, sigma, 0.0, network_lipschitz=math.sqrt(2) * c)
    rng = np.random.default_rng(5)
    row = certify_soft(choose(draw(rng, 100), setting, [Scoring("softmax")]), from_logits(rng, draw), setting)
    assert row.lipschitz == pytest.approx(c / 2, rel=1e-12)
    assert row.p_lower < exact < row.p_lower + 0.02
    assert row.plain_radius is not None and row.radius is not None
    assert row.plain_radius < row.radius < u
    assert row.radius > 1.3 * row.plain_radius


def test_gain_on_a_network_trained_for_a_small_constant() -> None:
    """The digits network with a certified Lipschitz constant L, at L sigma = 0.25: the same samples, with and without
    the constant, and its votes. Fixed keys."""
    graph = read_onnx((DIGITS / "digits-lipschitz.onnx").read_bytes())
    upper, net = network_bound(graph).upper, to_module(graph, dtype=torch.float64)
    sigma = 0.25 / upper
    noise, n = gaussian(sigma), 2000

    def f(x: torch.Tensor) -> torch.Tensor:
        return net(x.double())

    gains, over_votes = [], []
    for index, pixels in enumerate(np.load(DIGITS / "digits.npz")["x"][:12]):
        x = torch.from_numpy(pixels)
        key = noise_key(bytes(32), model_digest="m", input_digest=str(index), noise=noise.name, sigma=sigma)
        ask: dict[str, Any] = {"num_classes": 10, "noise": noise, "key": key, "batch_size": 100}

        def score(
            number: int, size: int, scoring: Scoring, x: torch.Tensor = x, call: dict[str, Any] = ask
        ) -> tuple[np.ndarray, Moments]:
            z = logits_chunk(f, x, stage="estimate", number=number, size=size, **call)
            return Scoring("hardmax").scores(z).sum(0).astype(int), Moments.of(scoring.scores(z))

        pilot = logits_chunk(f, x, stage="pilot", number=0, size=100, **ask)
        setting = Setting(n, 0.001, sigma, 0.0, network_lipschitz=upper)
        row = certify_soft(choose(pilot, setting), score, setting)
        votes = certify(f, x, num_classes=10, noise=noise, alpha=0.001, n0=100, n=n, key=key)
        if row.lipschitz is not None:
            assert row.radius is not None and row.plain_radius is not None
            gains.append(row.radius / row.plain_radius)
        assert votes.radius is not None
        over_votes.append((row.radius or 0) / votes.radius)
    assert len(gains) > 6
    assert np.median(gains) >= 1.3
    assert np.median(over_votes) >= 1.2


def test_nearly_certain_inputs_keep_their_votes() -> None:
    def draw(rng: np.random.Generator, size: int) -> np.ndarray:
        return np.tile([2.0, 0.0, 0.0], (size, 1)) + 0.1 * rng.standard_normal((size, 3))

    rng = np.random.default_rng(0)
    setting = Setting(5000, 0.001, 1.0, 0.0)
    row = certify_soft(choose(draw(rng, 100), setting), from_logits(rng, draw), setting)
    assert row.scoring == Scoring("hardmax")
    votes = certificate(row.pilot_counts, row.counts, n=5000, alpha=0.001, sigma=1.0, tail_mass=0.0)
    assert row.radius == row.plain_radius == votes.radius


def test_what_is_not_finite_is_a_class_that_is_never_certified() -> None:
    def draw(rng: np.random.Generator, size: int) -> np.ndarray:
        z = rng.standard_normal((size, 3))
        z[rng.random(size) < 0.7] = np.nan
        return z

    rng = np.random.default_rng(0)
    setting = Setting(2000, 0.001, 1.0, 0.0)
    row = certify_soft(choose(draw(rng, 100), setting), from_logits(rng, draw), setting)
    assert (row.prediction, row.radius, row.abstained) == (None, None, True)
    assert row.counts[-1] > 1300


def test_a_missing_tail_lowers_the_radius() -> None:
    def draw(rng: np.random.Generator, size: int) -> np.ndarray:
        u = 0.5 + rng.standard_normal(size)
        return np.stack([u, -u], 1)

    def certified(tail_mass: float) -> SoftPrediction:
        rng = np.random.default_rng(0)
        setting = Setting(2000, 0.001, 1.0, tail_mass)
        return certify_soft(choose(draw(rng, 100), setting, [Scoring("softmax")]), from_logits(rng, draw), setting)

    full, less = certified(0.0), certified(0.01)
    assert less.p_lower == pytest.approx(full.p_lower - 0.01, abs=1e-12)
    assert less.radius is not None and full.radius is not None and less.radius < full.radius


def test_what_rounding_did_to_the_logits_is_taken_off() -> None:
    """Computed logits that all err the worst way, by 0.1: without saying so p_lower exceeds the true mean score."""
    error = 0.1
    worst = error * np.array([1.0, -1.0]) / math.sqrt(2)

    def draw(rng: np.random.Generator, size: int) -> np.ndarray:
        u = 0.2 * rng.standard_normal(size)
        return np.stack([u, -u], 1)

    def p_lower(logits_error: float) -> float:
        setting = Setting(20_000, 0.001, 1.0, 0.0, network_lipschitz=1.0, logits_error=logits_error)
        rng = np.random.default_rng(0)
        choice = choose(draw(rng, 100) + worst, setting, [Scoring("softmax")])
        return certify_soft(choice, from_logits(rng, lambda rng, size: draw(rng, size) + worst), setting).p_lower

    assert p_lower(0.0) > 0.5 > p_lower(error)  # by symmetry the true mean is 1/2
    assert p_lower(0.0) - p_lower(error) == pytest.approx(error * math.sqrt(2) / 4, rel=1e-9)
    for wrong in (-1e-9, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"^logits_error: "):
            Setting(2000, 0.001, 1.0, 0.0, logits_error=wrong)


def test_missing_chunks_are_refused() -> None:
    setting = Setting(2000, 0.001, 1.0, 0.0)

    def score(number: int, size: int, scoring: Scoring) -> tuple[np.ndarray, Moments]:
        z = np.zeros((size - 1, 2))
        return Scoring("hardmax").scores(z).sum(0).astype(int), Moments.of(scoring.scores(z))

    with pytest.raises(ValueError, match=r"^counts: add up to 1998"):
        certify_soft(choose(np.zeros((10, 2)), setting), score, setting)
    with pytest.raises(ValueError, match=r"^pilot_logits: "):
        choose(np.zeros((1, 2)), setting)
    with pytest.raises(ValueError, match=r"^n: "):
        Setting(1, 0.001, 1.0, 0.0)


def test_logits_of_a_chunk_are_those_that_it_counts() -> None:
    weight = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 3))).float()
    call: dict[str, Any] = {
        "num_classes": 3,
        "noise": gaussian(0.5),
        "key": bytes(32),
        "stage": "estimate",
        "number": 4,
        "size": 130,
    }
    z = logits_chunk(lambda x: x @ weight, torch.zeros(5), batch_size=50, **call)
    counts = count_chunk(lambda x: x @ weight, torch.zeros(5), batch_size=50, **call)
    assert z.shape == (130, 3)
    assert np.bincount(z.argmax(1), minlength=4).tolist() == counts.tolist()
