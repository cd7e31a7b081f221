import math
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import pytest

from radii.smoothing import CHUNK, certificate, certify_decision, certify_radius, looks
from radii.smoothing.procedure import radius_procedure

SETTINGS: dict[str, Any] = {"alpha": 0.001, "sigma": 0.5, "tail_mass": 0.0}


class Votes:
    """Votes of fixed probabilities, a function of the chunk alone; remembers what was asked."""

    def __init__(self, *probabilities: float, seed: int = 0) -> None:
        self.probabilities, self.seed = probabilities, seed
        self.asked: list[tuple[str, int, int]] = []

    def __call__(self, stage: str, number: int, size: int) -> np.ndarray:
        self.asked.append((stage, number, size))
        assert 1 <= size <= CHUNK
        rng = np.random.default_rng([self.seed, stage == "pilot", number])
        return rng.multinomial(size, self.probabilities)


def test_radius_asks_for_both_stages_once_and_certifies_their_sums() -> None:
    votes = Votes(0.02, 0.97, 0.0, 0.01)
    row = certify_radius(votes, n0=100, n=2500, **SETTINGS)
    assert votes.asked == [("pilot", 0, 100), ("estimate", 0, 1000), ("estimate", 1, 1000), ("estimate", 2, 500)]
    assert row == certificate(row.pilot_counts, row.counts, n=2500, **SETTINGS)
    assert (sum(row.pilot_counts), sum(row.counts), row.decision) == (100, 2500, None)


def test_a_procedure_asks_for_all_that_it_can_and_minds_no_order() -> None:
    """Votes that are counted elsewhere, the last chunk first."""
    votes, asked = Votes(0.02, 0.97, 0.0, 0.01), []
    procedure = radius_procedure(n0=1100, n=2500, **SETTINGS)
    wanted = next(procedure)
    with pytest.raises(StopIteration) as end:
        while True:
            asked.append([tuple(request) for request in wanted])
            wanted = procedure.send(np.sum([votes(*request) for request in reversed(wanted)], axis=0))
    assert asked == [
        [("pilot", 0, 1000), ("pilot", 1, 100)],
        [("estimate", 0, 1000), ("estimate", 1, 1000), ("estimate", 2, 500)],
    ]
    assert end.value.value == certify_radius(Votes(0.02, 0.97, 0.0, 0.01), n0=1100, n=2500, **SETTINGS)


def test_decision_stops_when_it_knows() -> None:
    sure = Votes(0.0, 0.999, 0.001, 0.0)
    row = certify_decision(sure, target_radius=0.5, n0=100, n=100_000, **SETTINGS)
    assert (row.prediction, row.decision, row.radius, row.abstained) == (1, "certified", 0.5, False)
    assert row.n == sum(row.counts) <= 150
    assert [size for stage, _, size in sure.asked if stage == "estimate"] == [50] * (row.n // 50)
    unsure = Votes(0.4, 0.6, 0.0)
    row = certify_decision(unsure, target_radius=0.5, n0=100, n=100_000, **SETTINGS)
    assert (row.prediction, row.pilot_class, row.radius, row.abstained) == (None, 1, None, True)
    assert row.decision == "not certified"
    assert row.n < 500


def test_decisions_bound_both_sides() -> None:
    """No vote of the class is needed beyond a half, and what is out of its reach is said, long before n."""
    exact = 0.5 / 2 * (-0.05015 + 0.52440)  # Phi^-1 of 0.48 and of 0.3
    for share, decision in ((0.8, "certified"), (1.2, "not certified")):
        votes = Votes(0.3, 0.48, 0.2, 0.02)
        row = certify_decision(votes, target_radius=share * exact, n0=100, n=100_000, **SETTINGS)
        assert (row.pilot_class, row.decision, row.abstained) == (1, decision, decision != "certified")
        assert row.prediction == (1 if decision == "certified" else None)
        assert (row.sides, row.p_lower, row.p_upper) == (None, None, None)
        assert row.n == sum(row.counts) < 50_000


def test_decision_without_a_class_draws_nothing_more() -> None:
    votes = Votes(0.1, 0.1, 0.8)  # the last: non-finite logits
    row = certify_decision(votes, target_radius=0.5, n0=100, n=100_000, **SETTINGS)
    assert (row.prediction, row.decision, row.abstained, row.n) == (None, "undecided", True, 0)
    assert votes.asked == [("pilot", 0, 100)]


def test_a_radius_out_of_reach_costs_the_pilot() -> None:
    votes = Votes(1.0, 0.0, 0.0)
    row = certify_decision(votes, target_radius=3.0, n0=100, n=100_000, **SETTINGS)
    assert (row.prediction, row.pilot_class, row.decision, row.n) == (None, 0, "undecided", 0)
    assert votes.asked == [("pilot", 0, 100)]


def test_looks_are_fixed_and_add_up() -> None:
    assert list(looks(120)) == [50, 50, 20]
    for n in (1, 50, 999, 1000, 5000, 5001, 12_345):
        assert sum(looks(n)) == n
    sizes = list(looks(100_000))
    assert (sizes[:20], sizes[20:36], set(sizes[36:])) == ([50] * 20, [250] * 16, {1000})


@pytest.mark.parametrize(("p", "radius"), [(0.84, 0.5), (0.69, 0.25)])
def test_decisions_are_rarely_false(p: float, radius: float) -> None:
    """p just below Phi(r/sigma): 1,500 decisions at alpha 0.05. A right test exceeds 105 with chance below 2e-3."""
    assert math.erf(radius / 0.5 / math.sqrt(2)) / 2 + 0.5 > p
    false = sum(
        certify_decision(
            Votes(p, 1 - p, 0.0, seed=seed), target_radius=radius, n0=20, n=2000, alpha=0.05, sigma=0.5, tail_mass=0.0
        ).decision
        == "certified"
        for seed in range(1500)
    )
    assert 0 < false <= 105


def unasked(*_: object) -> NoReturn:
    raise AssertionError("votes were counted")


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("n", lambda: certify_radius(unasked, n0=1, n=9, **SETTINGS)),
        ("n0", lambda: certify_radius(unasked, n0=0, n=100, **SETTINGS)),
        ("n0", lambda: certify_decision(unasked, target_radius=0.1, n0=0, n=100, **SETTINGS)),
        ("n", lambda: certify_decision(unasked, target_radius=0.1, n0=9, n=0, **SETTINGS)),
        ("target_radius", lambda: certify_decision(unasked, target_radius=math.inf, n0=9, n=100, **SETTINGS)),
    ],
)
def test_what_can_certify_nothing_is_refused_before_counting(name: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        call()
