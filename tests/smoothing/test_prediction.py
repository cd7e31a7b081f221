import dataclasses
from typing import Any

import mpmath as mp
import numpy as np
import pytest

from radii.smoothing import certificate, radius_one_sided, radius_two_sided

SETTINGS: dict[str, Any] = {"alpha": 0.001, "sigma": 0.5, "tail_mass": 1e-9}


def test_the_pilot_chooses_and_fresh_samples_bound() -> None:
    row = certificate([0, 98, 2, 0], np.array([1000, 98_990, 10, 0]), n=100_000, **SETTINGS)
    assert (row.prediction, row.pilot_class, row.abstained, row.n) == (1, 1, False, 100_000)
    assert row.radius == radius_one_sided(98_990, 100_000, **SETTINGS)
    assert row.p_lower is not None and 0.988 < row.p_lower < 0.9899
    assert (row.pilot_counts, row.counts) == ((0, 98, 2, 0), (1000, 98_990, 10, 0))
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.radius = 9.0  # type: ignore[misc]


def test_the_pilot_alone_chooses_between_one_and_two_sides() -> None:
    split = certificate([50, 26, 24, 0], [50_000, 26_000, 24_000, 0], n=100_000, **SETTINGS)
    assert (split.sides, split.radius) == ("two-sided", radius_two_sided(50_000, 26_000, 100_000, **SETTINGS))
    assert split.p_lower is not None and split.p_upper is not None
    assert split.p_lower < 0.5 < 1 - split.p_upper
    # a rival that is never seen: 1 - (alpha/2)^(1/n), and the tail; as 1 - (1 - p) it would lose digits, downwards
    unseen = certificate([60, 40, 0], [100_000, 0, 0], n=100_000, **SETTINGS)
    assert unseen.sides == "one-sided"
    rare = certificate([45, 30, 25, 0], [100_000, 0, 0, 0], n=100_000, **SETTINGS)
    assert rare.sides == "two-sided"
    exact = 1 - mp.mpf("0.0005") ** (mp.mpf(1) / 100_000) + mp.mpf("1e-9")
    assert exact <= rare.p_upper <= exact * (1 + mp.mpf("1e-8"))
    # two sides would certify what the votes give, but the pilot expected all rivals to be one
    stays = certificate([90, 10, 0, 0], [90_000, 5_000, 5_000, 0], n=100_000, **SETTINGS)
    assert (stays.sides, stays.radius) == ("one-sided", radius_one_sided(90_000, 100_000, **SETTINGS))
    assert stays.p_upper is None
    # non-finite logits are a rival like any other
    broken = certificate([50, 10, 10, 30], [50_000, 1_000, 1_000, 48_000], n=100_000, **SETTINGS)
    assert (broken.sides, broken.radius) == ("two-sided", radius_two_sided(50_000, 48_000, 100_000, **SETTINGS))


def test_a_class_that_only_the_estimate_favours_is_not_taken() -> None:
    row = certificate([60, 40, 0], [10, 99_990, 0], n=100_000, **SETTINGS)
    assert (row.prediction, row.pilot_class, row.radius, row.abstained) == (None, 0, None, True)


def test_ties_go_to_the_lowest_index() -> None:
    assert certificate([5, 40, 40, 15], [0, 1000, 0, 0], n=1000, **SETTINGS).pilot_class == 1
    assert certificate([0, 0, 50, 50], [0, 0, 1000, 0], n=1000, **SETTINGS).pilot_class == 2  # before non-finite


def test_non_finite_logits_are_certified_for_nobody() -> None:
    row = certificate([10, 20, 70], [0, 0, 1000], n=1000, **SETTINGS)
    assert (row.prediction, row.pilot_class, row.radius, row.abstained) == (None, None, None, True)
    assert row.p_lower is None


@pytest.mark.parametrize(
    ("name", "pilot", "fresh"),
    [
        ("counts", [9, 1, 0], [999, 0, 0]),
        ("counts", [9, 1, 0], [1001, 0, 0]),
        ("counts", [9, 1, 0], [1001, -1, 0]),
        ("pilot_counts", [9, 1], [1000, 0, 0]),
        ("pilot_counts", [0, 0, 0], [1000, 0, 0]),
        ("pilot_counts", [9, -1, 0], [1000, 0, 0]),
        ("pilot_counts", [], []),
    ],
)
def test_refuses_counts_that_cannot_be(name: str, pilot: list[int], fresh: list[int]) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        certificate(pilot, fresh, n=1000, **SETTINGS)


@pytest.mark.parametrize("change", [{"alpha": 0.0}, {"sigma": -1.0}, {"tail_mass": -1.0}])
def test_refuses_settings_whatever_the_pilot_says(change: dict[str, float]) -> None:
    for pilot in ([9, 1, 0], [0, 0, 9]):
        with pytest.raises(ValueError, match=f"^{next(iter(change))}: "):
            certificate(pilot, [1000, 0, 0], n=1000, **SETTINGS | change)
