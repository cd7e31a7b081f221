import math
import random
from itertools import pairwise

import pytest

from models.curve import POINTS, READING, Outcome, certified_accuracy, curve

# label, prediction, radius: right, right, wrong, abstained, right with the same radius
FIVE = [Outcome(1, 1, 0.5), Outcome(2, 2, 0.25), Outcome(3, 1, 0.9), Outcome(4, None, None), Outcome(5, 5, 0.25)]


def truth(outcomes: list[Outcome], r: float) -> float:
    """Certified accuracy at r by its definition, one input after the other."""
    right = 0
    for label, prediction, radius, *_ in outcomes:
        right += radius is not None and radius >= r and label in (None, prediction)
    return right / len(outcomes)


def read(points: list[dict[str, float]], r: float) -> float:
    """As the document says that it is read."""
    return next((point["certified_accuracy"] for point in points if point["radius"] >= r), 0.0)


def test_the_curve_by_hand() -> None:
    answer = curve(FIVE)
    assert answer["points"] == [
        {"radius": 0.0, "certified_accuracy": 3 / 5},
        {"radius": 0.25, "certified_accuracy": 3 / 5},
        {"radius": 0.5, "certified_accuracy": 1 / 5},
    ]
    assert (answer["inputs"], answer["reading"], answer["known_up_to"]) == (5, READING, None)
    assert answer["band"]["half_width"] == pytest.approx(math.sqrt(math.log(40) / 10))


def test_decisions_are_known_up_to_their_radius() -> None:
    no, unknown = Outcome(1, None, None, "not certified"), Outcome(1, None, None, "undecided")
    outcomes = [Outcome(1, 1, 0.5, "certified"), no, no, unknown, Outcome(2, 1, 0.5, "certified")]
    answer = curve(outcomes, target_radius=0.5)
    assert answer["known_up_to"] == 0.5
    assert answer["points"] == [{"radius": r, "certified_accuracy": 1 / 5} for r in (0.0, 0.5)]
    # where none is certified, that is known of the target too
    assert curve([no], target_radius=0.5)["points"] == [{"radius": r, "certified_accuracy": 0.0} for r in (0.0, 0.5)]
    found = [certified_accuracy(outcomes, r, target_radius=0.5)["certified_accuracy"] for r in (0.0, 0.5, 0.500001)]
    assert found == [1 / 5, 1 / 5, None]


def test_without_labels_it_is_the_share_certified() -> None:
    answer = curve([Outcome(None, 3, 0.1), Outcome(None, None, None)])
    assert answer["labelled"] is False
    assert answer["points"][-1] == {"radius": 0.1, "certified_accuracy": 1 / 2}


def test_nothing_yet() -> None:
    assert curve([])["points"] == curve([], target_radius=1.0)["points"] == []
    assert certified_accuracy([], 0.0) == {"radius": 0.0, "certified_accuracy": None}


@pytest.mark.parametrize("places", [2, 17])  # many equal radii; nearly none
@pytest.mark.parametrize("inputs", [1, 40, 1001, 5000])
def test_a_curve_is_read_exactly_at_its_points_and_never_too_high(inputs: int, places: int) -> None:
    draw = random.Random(inputs)
    radii = [draw.choice([None, 0.0, round(draw.random(), places)]) for _ in range(inputs)]
    outcomes = [Outcome(0, None if r is None else draw.randrange(2), r) for r in radii]
    points = curve(outcomes)["points"]
    assert points[0]["radius"] == 0.0 and len(points) <= POINTS + 1
    at_points = [point["radius"] for point in points]
    assert all(one < next_ for one, next_ in pairwise(at_points))
    for r in [*at_points, *draw.sample([r for r in radii if r is not None], min(inputs // 4, 300))]:
        for asked in (r, math.nextafter(r, math.inf), max(0.0, math.nextafter(r, -math.inf))):
            exact = truth(outcomes, asked)
            assert certified_accuracy(outcomes, asked)["certified_accuracy"] == exact
            assert read(points, asked) <= exact
            if asked in at_points or places == 2:  # a curve that is not thinned is exact everywhere
                assert read(points, asked) == exact
    right = [o.radius for o in outcomes if o.radius is not None and o.prediction == 0]
    assert at_points[-1] == max(right, default=0.0)
