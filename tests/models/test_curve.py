import math
import random

import pytest

from models.curve import POINTS, Outcome, curve, summary

# label, prediction, radius: right, right, wrong, abstained, right at 0
FIVE = [Outcome(1, 1, 0.5), Outcome(2, 2, 0.25), Outcome(3, 1, 0.9), Outcome(4, 4, None), Outcome(5, 5, 0.25)]


def test_the_curve_by_hand() -> None:
    answer = curve(FIVE)
    assert answer["points"] == [
        {"radius": 0.0, "certified_accuracy": 3 / 5},
        {"radius": 0.25, "certified_accuracy": 3 / 5},
        {"radius": 0.5, "certified_accuracy": 1 / 5},
    ]
    assert answer["inputs"] == 5
    assert answer["band"]["half_width"] == pytest.approx(math.sqrt(math.log(40) / 10))


def test_the_summary_by_hand() -> None:
    assert summary(FIVE) == {
        "inputs": 5,
        "abstained": 1,
        "accuracy": 4 / 5,
        "certified_accuracy": 3 / 5,
        "median_radius": 0.25,
    }


def test_decisions_are_counted_by_their_answers() -> None:
    no, unknown = Outcome(1, 1, None, "not certified"), Outcome(1, None, None, "undecided")
    figures = summary([Outcome(1, 1, 0.5, "certified"), no, no, unknown, Outcome(2, 1, 0.5, "certified")])
    assert figures["decisions"] == {"certified": 2, "not certified": 2, "undecided": 1}
    assert (figures["certified_accuracy"], figures["median_radius"]) == (1 / 5, None)


def test_without_labels_it_is_the_share_certified() -> None:
    answer = curve([Outcome(None, 3, 0.1), Outcome(None, 4, None)])
    assert answer["labelled"] is False
    assert answer["points"][-1] == {"radius": 0.1, "certified_accuracy": 1 / 2}
    assert summary([Outcome(None, 3, 0.1)])["accuracy"] is None


def test_nothing_yet() -> None:
    assert curve([])["points"] == []
    assert summary([])["median_radius"] is None


def test_a_long_curve_is_thinned_to_points_that_are_still_exact() -> None:
    draw = random.Random(0)
    outcomes = [Outcome(0, draw.randrange(2), draw.choice([None, draw.random()])) for _ in range(5000)]
    points = curve(outcomes)["points"]
    assert len(points) <= POINTS + 1
    for point in points:
        r = point["radius"]
        count = sum(o.prediction == 0 and o.radius is not None and o.radius >= r for o in outcomes)
        assert point["certified_accuracy"] == count / 5000
    assert points[-1]["radius"] == max(o.radius for o in outcomes if o.radius is not None and o.prediction == 0)
