"""The figures of a summary, and the sums that they are made of."""

import random
import statistics
import sys
from itertools import pairwise
from typing import Any

import pytest

from models.base import Json
from models.curve import Outcome
from models.database import Database
from models.plan import Plan
from models.repositories import results
from models.tables import Result
from models.totals import Totals, summary, totals
from tests import factories

RADII = Plan()
DECISION = Plan(target_radius=0.5)
# label, prediction, radius: right, right, wrong, abstained, right with the same radius
FIVE = [Outcome(1, 1, 0.5), Outcome(2, 2, 0.25), Outcome(3, 1, 0.9), Outcome(4, None, None), Outcome(5, 5, 0.25)]


def figures(plan: Plan, outcomes: list[Outcome], median_radius: float | None = 0.25) -> Json:
    return summary(plan, totals(plan, outcomes, {}, []), median_radius)


def test_the_summary_by_hand() -> None:
    assert figures(RADII, FIVE) == {
        "inputs": 5,
        "abstained": 1,
        "accuracy": 3 / 5,
        "clean_accuracy": None,
        "at_target": None,
        "median_radius": 0.25,
        "decisions": None,
    }


@pytest.mark.parametrize("plan", [Plan(), Plan(radii=False)])
def test_whoever_abstains_is_not_right(plan: Plan) -> None:
    radius = 0.5 if plan.radii else None
    found = figures(plan, [Outcome(1, 1, radius), Outcome(2, 1, radius), Outcome(1, None, None)])
    assert (found["accuracy"], found["abstained"]) == (1 / 3, 1)
    assert (found["median_radius"] is None) is not plan.radii


def test_of_medians_no_answer_is_right_or_wrong() -> None:
    found = figures(Plan(classes=False, radii=False), [Outcome(3, None, 0.25, None, 3), Outcome(None, None, None)])
    assert found == {"inputs": 2, "abstained": 1} | dict.fromkeys(
        ("accuracy", "clean_accuracy", "at_target", "median_radius", "decisions")
    )


@pytest.mark.parametrize(("clean", "accuracy"), [((1, 2, 2), 2 / 3), ((1, None, 3), None), ((None,) * 3, None)])
def test_clean_accuracy_is_the_networks_own_where_all_of_it_is_known(
    clean: tuple[int | None, ...], accuracy: float | None
) -> None:
    labels = (1, 2, 3)
    outcomes = [Outcome(label, None, None, None, own) for label, own in zip(labels, clean, strict=True)]
    assert figures(RADII, outcomes)["clean_accuracy"] == accuracy
    assert figures(RADII, [outcome._replace(label=None) for outcome in outcomes])["clean_accuracy"] is None


def test_decisions_are_counted_by_their_answers() -> None:
    no, unknown = Outcome(1, None, None, "not certified"), Outcome(1, None, None, "undecided")
    outcomes = [Outcome(1, 1, 0.5, "certified"), no, no, unknown, Outcome(2, 1, 0.5, "certified")]
    found = figures(DECISION, outcomes)
    assert found["decisions"] == {"certified": 2, "not certified": 2, "undecided": 1}
    assert (found["at_target"], found["median_radius"]) == ({"radius": 0.5, "certified_accuracy": 1 / 5}, None)


def test_nothing_yet() -> None:
    assert summary(RADII, Totals(), None) == figures(RADII, [], None)
    assert figures(RADII, [], None)["accuracy"] is None
    assert figures(DECISION, [], None)["at_target"] == {"radius": 0.5, "certified_accuracy": None}
    assert figures(RADII, [Outcome(None, 3, 0.1)])["accuracy"] is None


@pytest.mark.parametrize("plan", [RADII, DECISION, Plan(classes=False, radii=False)])
def test_however_results_are_cut_into_shards_their_sums_are_the_same(plan: Plan) -> None:
    draw = random.Random(0)
    classes, answers = [None, 0, 1], [None, "certified", "not certified", "undecided"]
    fields: list[list[Any]] = [classes, classes, [None, 0.2, 0.5, 0.7], answers, classes]
    outcomes = [Outcome(*map(draw.choice, fields)) for _ in range(60)]
    attacks: dict[int, Any] = {i: {"contradicted": i % 2 == 0, "input": f"{i}", "dtype": "f"} for i in range(0, 60, 7)}
    attacks[8] = {"not_checked": "it is flat"}
    gaussians = [{"noise": "gaussian", "sigma": sigma} for sigma in (0.25, 0.5, 1.0)]
    noises = {i: draw.sample(gaussians, 2) for i in range(0, 60, 5)}

    def of(indices: range) -> Totals:
        said = {i: attacks[i] for i in indices if i in attacks}
        return totals(plan, [outcomes[i] for i in indices], said, [noises[i] for i in indices if i in noises])

    whole = of(range(60))
    assert whole.inputs == 60 and whole.certified_before == 12 and len(whole.other_noises) == 3
    assert whole.attacks["0"] == {"contradicted": True, "input": "0"} and len(whole.attacks) == 10
    for _ in range(20):
        ends = [0, *sorted(draw.sample(range(1, 60), 5)), 60]
        parts = [of(range(start, stop)) for start, stop in pairwise(ends)]
        draw.shuffle(parts)
        assert sum(parts, start=Totals()) == whole


def test_the_median_is_that_of_all_radii(database: Database) -> None:
    """Of none it is 0; halfway between two their sum might overflow."""
    most, rng = sys.float_info.max, random.Random(0)
    cases: list[list[float | None]] = [[most] * 6, [0.0, most], [None, 0.5], [None, None, 0.5]]
    cases += [[rng.expovariate(1.0) for _ in range(count)] for count in range(1, 12)]
    expected = [most, most / 2, 0.25, 0.0, *(statistics.median(radius or 0.0 for radius in case) for case in cases[4:])]
    for case, median in zip(cases, expected, strict=True):
        with database.write() as session:
            job = factories.certification(session, inputs=len(case))
            for index, radius in enumerate(case):
                what: Json = {"label": None, "prediction": 1, "radius": radius, "abstained": False, "detail": {}}
                session.add(Result(certification_id=job.id, index=index, **what))
            session.flush()
            assert results.median_radius(session, job.id, len(case)) == pytest.approx(median, rel=1e-15)
            assert results.median_radius(session, job.id, 0) is None
