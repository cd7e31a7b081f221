"""Properties in the styles of VNN-COMP's families, and files that are none."""

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from radii.local import vnnlib
from radii.local.vnnlib import Case, Inequality, NotReadable, Property, above, below, read_property


def declared(inputs: int, outputs: int) -> str:
    names = [*(f"X_{i}" for i in range(inputs)), *(f"Y_{i}" for i in range(outputs))]
    return "\n".join(f"(declare-const {name} Real)" for name in names) + "\n"


def read(text: str, inputs: int = 2, outputs: int = 2) -> Property:
    return read_property((declared(inputs, outputs) + text).encode())


BOX = "(assert (>= X_0 0)) (assert (<= X_0 1)) (assert (>= X_1 -0.5)) (assert (<= X_1 5e-1))\n"


def satisfied(prop: Property, x: list[Fraction], y: list[float]) -> bool:
    return any(
        all(low <= value <= high for low, value, high in zip(case.lower, x, case.upper, strict=True))
        and any(all(inequality.holds(y) for inequality in way) for way in case.ways)
        for case in prop.cases
    )


ACAS_1 = """; ACAS Xu property 1

(declare-const X_0 Real)
(declare-const X_1 Real)
(declare-const X_2 Real)
(declare-const X_3 Real)
(declare-const X_4 Real)

(declare-const Y_0 Real)
(declare-const Y_1 Real)
(declare-const Y_2 Real)
(declare-const Y_3 Real)
(declare-const Y_4 Real)

; Unscaled Input 0: (55947.691, 60760)
(assert (<= X_0 0.679857769))
(assert (>= X_0 0.6))

; Unscaled Input 1: (-3.141592653589793, 3.141592653589793)
(assert (<= X_1 0.5))
(assert (>= X_1 -0.5))
(assert (<= X_2 0.5))
(assert (>= X_2 -0.5))
(assert (<= X_3 0.5))
(assert (>= X_3 0.45))
(assert (<= X_4 -0.45))
(assert (>= X_4 -0.5))

; unsafe if COC >= 1500. Output scaling is 373.94992 with a bias of 7.518884: (1500 - 7.518884) / 373.94992 = 3.991125
(assert (>= Y_0 3.991125645861615))
"""


def test_acas_xu_with_a_threshold() -> None:
    prop = read_property(ACAS_1.encode())
    assert (prop.inputs, prop.outputs) == (5, 5)
    [case] = prop.cases
    assert case.lower == tuple(map(Fraction, ("0.6", "-0.5", "-0.5", "0.45", "-0.5")))
    assert case.upper == tuple(map(Fraction, ("0.679857769", "0.5", "0.5", "0.5", "-0.45")))
    assert case.ways == ((Inequality({0: Fraction(-1)}, Fraction("-3.991125645861615")),),)
    [[inequality]] = case.ways
    assert inequality.holds([4.0, 0, 0, 0, 0]) and not inequality.holds([3.99, 9, 9, 9, 9])
    assert not inequality.holds([np.nan, 0, 0, 0, 0]) and not inequality.holds([np.inf, 0, 0, 0, 0])


def test_acas_xu_with_an_order_of_outputs() -> None:
    """Properties 2 to 4: one output is the largest, or the smallest."""
    prop = read(BOX + "\n".join(f"(assert (<= Y_{i} Y_0))" for i in range(1, 5)), 2, 5)
    [case] = prop.cases
    [way] = case.ways
    assert way == tuple(Inequality({0: Fraction(-1), i: Fraction(1)}, Fraction(0)) for i in range(1, 5))
    assert all(part.holds([3, 1, 2, 3, 0]) for part in way) and not all(part.holds([3, 1, 2, 4, 0]) for part in way)


def test_a_disjunction_of_boxes_and_one_of_outputs_are_multiplied_out() -> None:
    """Property 6: two boxes, and any other output the smallest."""
    text = """
    (assert (or
        (and (<= X_0 0.7) (>= X_0 -0.129) (<= X_1 0.5) (>= X_1 0.1))
        (and (<= X_0 0.7) (>= X_0 -0.129) (<= X_1 -0.1) (>= X_1 -0.5))
    ))
    (assert (or (and (<= Y_1 Y_0)) (and (<= Y_2 Y_0)) (and (<= Y_3 Y_0))))
    """
    prop = read(text, 2, 4)
    assert [(case.lower[1], case.upper[1]) for case in prop.cases] == [
        (Fraction("0.1"), Fraction("0.5")),
        (Fraction("-0.5"), Fraction("-0.1")),
    ]
    assert all(len(case.ways) == 3 and all(len(way) == 1 for way in case.ways) for case in prop.cases)


@pytest.mark.parametrize("pixels", [784, 3 * 32 * 32])
def test_images_with_a_rival_that_wins(pixels: int) -> None:
    """As mnist_fc and the CIFAR networks have it; some families write a bare inequality in place of the ``and``."""
    rng = np.random.default_rng(0)
    center = rng.random(pixels).round(6)
    lower, upper = (center - 0.03).round(9), (center + 0.03).round(9)
    bounds = "".join(
        f"(assert (<= X_{i} {u}))\n(assert (>= X_{i} {low}))\n"
        for i, (low, u) in enumerate(zip(lower, upper, strict=True))
    )
    for option in ("(and (>= Y_{} Y_7))", "(>= Y_{} Y_7)"):
        rivals = "\n".join(option.format(j) for j in range(10) if j != 7)
        prop = read(f"; label 7\n{bounds}(assert (or\n{rivals}\n))\n", pixels, 10)
        [case] = prop.cases
        assert len(case.ways) == 9
        low, high = case.box
        assert (low <= lower).all() and (high >= upper).all()
        assert max((lower - low).max(), (high - upper).max()) <= 2.0**-52
        y = np.zeros(10)
        y[7] = 1.0
        assert not any(all(part.holds(y) for part in way) for way in case.ways)
        y[3] = 1.0
        assert any(all(part.holds(y) for part in way) for way in case.ways)


def test_inputs_and_outputs_in_one_disjunction() -> None:
    """As nn4sys has it: each box with what outputs there may not be."""
    text = """(assert (or
        (and (>= X_0 0) (<= X_0 1) (>= X_1 0) (<= X_1 1) (<= Y_0 -1.5))
        (and (>= X_0 0) (<= X_0 1) (>= X_1 0) (<= X_1 1) (>= Y_0 2))
        (and (>= X_0 2) (<= X_0 3) (>= X_1 0) (<= X_1 0) (>= Y_0 7) (<= Y_1 Y_0))
    ))"""
    prop = read(text)
    assert [len(case.ways) for case in prop.cases] == [2, 1]
    assert [len(way) for case in prop.cases for way in case.ways] == [1, 1, 2]


def test_bounds_meet_and_an_empty_box_is_left_out() -> None:
    text = "(assert (or (and (>= X_0 0.25) (<= Y_0 0)) (and (>= X_0 2) (<= Y_0 1))))"
    [case] = read(BOX + text).cases
    assert (case.lower[0], case.upper[0]) == (Fraction(1, 4), Fraction(1))
    assert read(BOX + "(assert (<= X_0 -1)) (assert (<= Y_0 0))").cases == ()


def test_sums_products_and_numbers() -> None:
    text = """(assert (<= (+ (* 2.0 Y_0) (- Y_1) -3) (- 0.5 (* Y_0 -.25 2))))
    (assert (= Y_1 +1.5E+1)) (assert (>= (* 4 X_0) (- 2)))"""
    [case] = read(BOX + text).cases
    first, *rest = case.ways[0]
    assert first == Inequality({0: Fraction("1.5"), 1: Fraction(-1)}, Fraction("3.5"))
    assert rest == [Inequality({1: Fraction(1)}, Fraction(15)), Inequality({1: Fraction(-1)}, Fraction(-15))]
    assert case.lower[0] == 0  # more than -1/2


def test_any_nesting_means_what_it_says() -> None:
    """Against the formula itself, at every corner of a grid."""
    rng = np.random.default_rng(1)
    grid = [Fraction(k, 2) for k in range(3)]

    def drawn(depth: int) -> tuple[str, Callable[[dict[str, Fraction]], bool]]:
        kind = int(rng.integers(3)) if depth else 2
        if kind == 2:
            name, number = str(rng.choice(["X_0", "X_1", "Y_0", "Y_1"])), str(rng.choice(["0", "0.5", "1"]))
            if rng.integers(2):
                return f"(<= {name} {number})", lambda values: values[name] <= Fraction(number)
            return f"(>= {name} {number})", lambda values: values[name] >= Fraction(number)
        parts = [drawn(depth - 1) for _ in range(int(rng.integers(1, 4)))]
        words, quantifier = (("and", all), ("or", any))[kind]
        text = f"({words} {' '.join(text for text, _ in parts)})"
        return text, lambda values: quantifier(holds(values) for _, holds in parts)

    for _ in range(60):
        text, holds = drawn(3)
        prop = read(BOX.replace("-0.5", "0").replace("5e-1", "1") + f"(assert {text})")
        for x0, x1, y0, y1 in product(grid, repeat=4):
            expected = holds({"X_0": x0, "X_1": x1, "Y_0": y0, "Y_1": y1})
            assert satisfied(prop, [x0, x1], [float(y0), float(y1)]) == expected


@pytest.mark.parametrize(
    "number", ["0.1", "-0.1", "0.5", "1e-400", "-1e-400", "1e400", "-1e400", "0.30000000000000004"]
)
def test_ends_are_rounded_outward_and_no_farther(number: str) -> None:
    exact = Fraction(number)
    low, high = below(exact), above(exact)
    assert np.isinf(low) or Fraction(low) <= exact
    assert np.isinf(high) or exact <= Fraction(high)
    assert high == low or high == math.nextafter(low, math.inf)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("(assert (<= X_0 1)", 5, "a ( has no )"),
        ("\n(assert (<= X_0 1)))", 6, "a ) has no ("),
        ("assert", 5, "'assert' stands outside of parentheses"),
        ("(assert (<= X_2 1))", 5, "X_2 is not declared above"),
        ("(declare-const X_0 Real)", 5, "X_0 is declared twice"),
        ("(declare-const Z_0 Real)", 5, "'Z_0' is no variable"),
        ("(declare-const X_3 Real)", 5, "X_2 is not declared: every input"),
        ("(declare-const X_99999999 Real)", 5, "more than 1048576 variables"),
        ("(declare-const X_99999999999999999999 Real)", 5, "is no variable"),
        ("(declare-network f)", 5, "versions of VNN-LIB from 2.0 on are not read"),
        ("(assert (<= X_0 1) (<= X_1 1))", 5, "is expected here"),
        ("()", 5, "is expected here"),
        ("(assert ())", 5, "an inequality is expected here"),
        ("(assert\n(< Y_0 Y_1))", 6, "< is not read"),
        ("(assert (not (<= Y_0 Y_1)))", 5, "not is not read"),
        ("(assert (<= Y_0 Y_1 1))", 5, "none of <=, >=, ="),
        ("(assert (<= X_0 Y_0))", 5, "of inputs or of outputs"),
        ("(assert (<= 1 2))", 5, "of inputs or of outputs"),
        ("(assert (<= (+ X_0 X_1) 1))", 5, "boxes alone are read"),
        ("(assert (<= (* Y_0 Y_1) 1))", 5, "no sum of variables times numbers"),
        ("(assert (<= (/ Y_0 2) 1))", 5, "no sum of variables times numbers"),
        ("(assert (<= () 1))", 5, "no sum of variables times numbers"),
        ("(assert (<= (+) 1))", 5, "no sum of variables times numbers"),
        ("(assert (<= Y_0 1e999999999))", 5, "is no number that is read"),
        ("(assert (<= Y_0 1.5.5))", 5, "is no number that is read"),
        (f"(assert (<= Y_0 {'9' * 500}))", 5, "is no number that is read"),
        ("(assert (<= Y_0 nan))", 5, "'nan' is no variable"),
        ("(assert (<= X_0 1))\n(assert (>= X_0 0))\n(assert (<= Y_0 0))", 7, "X_1 has no lower bound"),
        ("(assert " + "(and " * 40, 5, "deep"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(NotReadable) as caught:
        read(text)
    assert caught.value.line == line and str(caught.value).startswith(f"line {line}: ")
    assert words in str(caught.value)


def test_a_file_that_would_multiply_out_to_too_much_is_refused_before_it_does() -> None:
    choice = "(assert (or (<= Y_0 0) (<= Y_0 1) (<= Y_1 2) (<= Y_1 3)))\n"
    with pytest.raises(NotReadable, match=f"{4**20} cases"):
        read(BOX + choice * 20)
    nested = "(or (<= Y_0 0) (<= Y_0 1))"
    with pytest.raises(NotReadable, match=f"{2**40} cases"):
        read(BOX + f"(assert (or (and {' '.join([nested] * 40)})))")


def test_sizes_are_looked_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vnnlib, "MOST_BYTES", 100)
    with pytest.raises(NotReadable, match="bytes, more than 100"):
        read_property(b" " * 101)
    monkeypatch.setattr(vnnlib, "MOST_BYTES", 2**20)
    monkeypatch.setattr(vnnlib, "MOST_WORDS", 10)
    with pytest.raises(NotReadable, match="more than 10 words"):
        read_property(b"(assert (or () () () () ()))")
    monkeypatch.setattr(vnnlib, "MOST_WORDS", 1000)
    monkeypatch.setattr(vnnlib, "MOST_NUMBERS", 3)
    with pytest.raises(NotReadable, match="more than 3"):
        read(BOX + "(assert (or (<= Y_0 0) (<= Y_1 0)))\n(assert (or (<= Y_0 2) (<= Y_1 2)))")


def test_bytes_that_are_no_text_are_said_to_be_none() -> None:
    with pytest.raises(NotReadable, match="line 2: this is no text"):
        read_property(b"; a\n\x1f\x8b\x08\xff")
    with pytest.raises(NotReadable, match="X_0 is not declared"):
        read_property(b"")


def test_an_empty_or_has_no_counterexample() -> None:
    assert read(BOX + "(assert (or))").cases == ()
    assert isinstance(read(BOX).cases[0], Case)  # nothing said of outputs: every input is one
    assert read(BOX).cases[0].ways == ((),)
