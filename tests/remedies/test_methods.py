"""Questions that can't be right, put right by the numbers that the refusal names. Methods check themselves."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from radii.methods import About, Splitting, parse_method

SMOOTHING: dict[str, Any] = {"kind": "smoothing", "sigma": 0.25}
MEDIAN: dict[str, Any] = {"kind": "median", "sigma": 0.25, "radius": 0.1}

# what is asked, how the refusal names the way out, and what that changes
CASES: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    (SMOOTHING | {"n": 9}, r"Use n >= (\d+)", {"n": int}),
    (SMOOTHING | {"n": 9}, r"or a larger alpha", {"alpha": 0.01}),
    (SMOOTHING | {"sigma": 1e-40}, r"use (\S+) or more", {"sigma": float}),
    (SMOOTHING | {"noise": "uniform", "norm": "l2"}, "leave norm out", {"norm": None}),
    (SMOOTHING | {"noise": "laplace", "norm": "linf"}, r"take (gaussian) noise", {"noise": str}),
    (SMOOTHING | {"scores": "soft", "precision": "bfloat16"}, r"take (hard) scores", {"scores": str}),
    (SMOOTHING | {"scores": "soft", "noise": "uniform"}, r"take (hard) scores", {"scores": str}),
    (SMOOTHING | {"scores": "soft", "n0": 1}, r"n0 from (\d+) to", {"n0": int}),
    (SMOOTHING | {"mode": "decide"}, "needs it", {"target_radius": 0.1}),
    (SMOOTHING | {"target_radius": 0.1}, "belongs to mode (decide)", {"mode": str}),
    (SMOOTHING | {"mode": "decide", "target_radius": 9.0}, r"the most is (\S+)\.", {"target_radius": float}),
    (SMOOTHING | {"mode": "decide", "target_radius": 0.9, "n": 1000}, "Raise n", {"n": 100_000}),
    (SMOOTHING | {"mode": "decide", "target_radius": 9.0}, "or sigma", {"sigma": 10.0}),
    ({"kind": "prediction", "sigma": 0.25, "n": 5}, r"Use n >= (\d+)", {"n": int}),
    (MEDIAN | {"n": 10}, r"Use n >= (\d+)", {"n": int}),
    (MEDIAN | {"radius": 9.0}, "smaller radius", {"radius": 0.1}),
    (MEDIAN | {"radius": 9.0}, "larger sigma", {"sigma": 10.0}),
]


@pytest.mark.parametrize(("asked", "words", "change"), CASES, ids=[f"{i}-{case[1]}" for i, case in enumerate(CASES)])
def test_what_the_refusal_names_is_accepted(asked: dict[str, Any], words: str, change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refusal:
        parse_method(asked)
    (error,) = refusal.value.errors()
    found = re.search(words, error["msg"])
    assert found, error["msg"]
    for name, value in change.items():
        asked = asked | {name: value(found[1]) if isinstance(value, type) else value}
    parse_method({name: value for name, value in asked.items() if value is not None})


@pytest.mark.parametrize("span", [1.0, 255.0])
def test_a_sigma_of_splitting_between_those_that_are_named(span: float) -> None:
    method = parse_method({"kind": "splitting", "sigma": 1e-6})
    assert isinstance(method, Splitting)
    about = About(grid=[0.0, span])
    unfit = method.unfit(about)
    assert unfit is not None
    for end in re.findall(r"[0-9.e+-]*\d", unfit.reason.split("between")[1]):
        named = parse_method({"kind": "splitting", "sigma": float(end)})
        assert isinstance(named, Splitting) and named.unfit(about) is None
