import math
import random
from typing import Any

import pytest

from radii.cli.report import cross_check_in_words, failed_in_words, in_brief, in_words, percent, print_results
from radii.methods import Lipschitz, Prediction, Smoothing
from radii.methods.lines import down


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.30157, "0.3015"),
        (0.29, "0.2900"),
        (1e-5, "0.0000"),
        (12.0, "12.0000"),
        (0.0, "0.0000"),
        (12345678901.25, "12345678901.2500"),
        (1.7976931348623157e308, "1.797693e+308"),
    ],
)
def test_a_radius_in_print_is_never_above_the_certified_one(number: float, text: str) -> None:
    assert down(number, 4) == text


def test_rounding_goes_toward_zero_everywhere() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        radius = rng.expovariate(1.0) * 10.0 ** rng.randint(-6, 4)
        shown = float(down(radius, 4))
        assert radius - 1e-4 < shown <= radius or math.isclose(shown, radius, rel_tol=1e-15)


@pytest.mark.parametrize(("share", "text"), [(1.0, "100.0%"), (0.9999, "99.9%"), (0.29, "29.0%"), (0.0, "0.0%")])
def test_a_share_in_print_is_never_above_the_true_one(share: float, text: str) -> None:
    assert percent(share) == text


def test_methods_in_words() -> None:
    words = in_words(Smoothing(sigma=0.25).model_dump())
    assert words == "smoothing sigma 0.25 alpha 0.001 n0 100 n 100,000 norm l2"
    words = in_words(Smoothing(sigma=1.0, n=1000, mode="decide", target_radius=0.5, family_wise=True).model_dump())
    assert words.endswith("family_wise yes n0 100 n 1,000 mode decide target_radius 0.5 norm l2")
    assert in_words(Prediction(sigma=0.25).model_dump()) == "prediction sigma 0.25 alpha 0.001 n 1,000"
    assert in_words(Lipschitz(norm="linf").model_dump()) == "lipschitz bound auto rtol 1e-06 budget 1,024 norm linf"


def test_who_abstains_has_no_prediction_in_print_but_the_pilots_class() -> None:
    certified: dict[str, Any] = {"index": 7, "label": 3, "prediction": 3, "pilot_class": 3, "radius": 0.25}
    certified |= {"abstained": False, "norm": "l2"}
    nothing = certified | {"prediction": None, "radius": None, "abstained": True}

    def shown(row: dict[str, Any]) -> tuple[str, ...]:
        (line,) = Smoothing.lines(row)
        assert line.cells[:2] == ("7", "3") and line.says is not row["abstained"]
        return line.cells[2:]

    assert shown(certified) == ("3", "0.2500")
    assert shown(nothing) == ("-", "abstained (pilot: 3)")
    assert shown(nothing | {"pilot_class": None}) == ("-", "abstained")
    assert shown(nothing | {"decision": "not certified"}) == ("-", "not certified (pilot: 3)")
    assert shown({key: value for key, value in nothing.items() if key != "pilot_class"}) == ("-", "abstained")


def test_methods_in_brief() -> None:
    """What differs from the usual, in the order of the method: a database gives fields back in its own."""
    method = Smoothing(sigma=0.25, n=2000).model_dump()
    assert in_brief(dict(sorted(method.items()))) == "smoothing sigma 0.25 n 2,000"
    assert in_brief(Lipschitz(norm="linf").model_dump()) == "lipschitz norm linf"
    assert in_brief({"kind": "later", "depth": 3}) == "later depth 3"


def test_a_cross_check_in_words() -> None:
    found = {"attacked": 9, "contradicted": 0, "probability": 1.0, "not_checked": []}
    assert cross_check_in_words(found) == "9 certified inputs attacked, none contradicted"
    found |= {"contradicted": 1, "probability": 0.00995, "not_checked": ["it is flat"]}
    assert cross_check_in_words(found).endswith("1 contradicted (by chance: 0.00995); not checked: it is flat")


def test_an_input_that_failed_is_said_so_in_print(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"kind": "prediction", "index": 7, "label": 3, "prediction": None, "radius": None, "abstained": False}
    print_results([row | {"failed": True, "problem": {"detail": "It was killed"}}])
    [line] = [line for line in capsys.readouterr().out.splitlines() if "7" in line]
    assert line.replace("│", " ").split() == ["7", "3", "-", "failed"]
    assert failed_in_words(2, [3, 5]).startswith("2: 3, 5  (they count as not certified")
    assert "9, ...  (" in failed_in_words(12, list(range(12)))
