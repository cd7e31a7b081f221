import sys
from typing import Any

import numpy as np
import pytest

from models.curve import Outcome, curve
from radii.cli.plot import MARGIN, certified_accuracy, plot, ticks


def test_certified_accuracy_is_the_share_that_reaches_the_radius() -> None:
    rng = np.random.default_rng(0)
    radii = [None if r < 0.1 else float(r) for r in rng.uniform(0, 1, 200)]
    outcomes = [Outcome(label=0, prediction=int(rng.integers(4) == 0), radius=radius) for radius in radii]
    found = curve(outcomes)
    right = [o.radius for o in outcomes if o.prediction == 0 and o.radius is not None]
    for radius in [0.0, 0.05, *rng.uniform(0, 1.1, 50), *right]:
        assert certified_accuracy(found, radius) == pytest.approx(sum(r >= radius for r in right) / 200)


@pytest.mark.parametrize("largest", [1e-4, 0.013, 0.25, 0.7, 1.0, 3.3, 99.0, 1e6, 1.7e308])
def test_ticks_are_few_and_round_and_cover_the_axis(largest: float) -> None:
    marks = ticks(largest, 6)
    assert marks[0] == 0
    assert 4 <= len(marks) <= 7
    assert marks[-1] <= largest < marks[-1] + marks[1]
    assert float(f"{marks[1]:.2g}") == pytest.approx(marks[1])


def test_a_curve_is_drawn_where_it_is() -> None:
    # 100 % up to radius 0.5, then 50 % up to 1, then nothing.
    points = [{"radius": 0.5, "certified_accuracy": 1.0}, {"radius": 1.0, "certified_accuracy": 0.5}]
    lines = plot({"step": {"points": points}}, width=104, height=5).plain.splitlines()
    full, _, half, _, none = (line[MARGIN:] for line in lines[1:6])
    # 103 steps of 0.01: column 50 is radius 0.5.
    assert full.rstrip() == "─" * 51 + "╮"
    assert half.rstrip() == " " * 51 + "╰" + "─" * 49 + "╮"
    assert none.rstrip() == " " * 101 + "╰──"
    assert "step" in lines[-1]


def test_what_was_not_asked_is_not_drawn_as_zero() -> None:
    """A decision about radius 0.5 beside radii up to 1: its line ends there, and does not fall."""
    outcomes = [Outcome(0, 0, 0.5, "certified"), Outcome(0, None, None, "undecided")]
    decided = curve(outcomes, target_radius=0.5)
    assert [certified_accuracy(decided, r) for r in (0.0, 0.3, 0.5, 0.51)] == [0.5, 0.5, 0.5, None]
    radii = {"points": [{"radius": 1.0, "certified_accuracy": 1.0}]}
    lines = plot({"decided": decided, "radii": radii}, width=104, height=5).plain.splitlines()
    _, _, half, _, none = (line[MARGIN:] for line in lines[1:6])
    assert half.rstrip("│ ┃") == "─" * 51
    assert "─" not in none and "╰" not in none


def test_a_network_that_does_not_read_its_input_is_drawn_too() -> None:
    points = [{"radius": sys.float_info.max, "certified_accuracy": 0.5}]
    lines = plot({"constant": {"points": points}}, width=60, height=5).plain.splitlines()
    assert any("─" * 40 in line for line in lines[1:5])
    assert "inf" not in "".join(lines) and "nan" not in "".join(lines)


def test_two_curves_differ_without_colour_and_none_is_no_error() -> None:
    low = {"points": [{"radius": 0.2, "certified_accuracy": 0.5}]}
    high = {"points": [{"radius": 1.0, "certified_accuracy": 1.0}]}
    text = plot({"low": low, "high": high}).plain
    assert "─── low" in text
    assert "━━━ high" in text
    empty: dict[str, Any] = {"points": []}
    assert "100%" in plot({"empty": empty}).plain
    assert certified_accuracy(empty, 0.0) is None  # of no input
