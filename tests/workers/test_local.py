"""Local radii on a shard: against closed forms, and what they do not depend on."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from radii.lipschitz import margin_radius
from radii.local import LocalResult, certify
from tests.graph.build import model, node
from tests.workers.test_compute import MEAN, STD, probabilities_onnx, worked
from workers.methods import local

DUAL = {"l2": 2, "linf": 1, "l1": np.inf}
NEAR = 2e-3  # what searching leaves open, relatively


def relu(seed: int = 0, width: int = 12) -> bytes:
    """A network of 6 numbers with one layer of ReLUs."""
    draw = np.random.default_rng(seed)
    weights = {"a": draw.standard_normal((6, width)), "b": draw.standard_normal((width, 4))}
    nodes = [node("MatMul", ["x", "a"], "h"), node("Relu", ["h"], "r"), node("MatMul", ["r", "b"])]
    return model(nodes, (6,), {name: value.astype(np.float32) for name, value in weights.items()})


def drawn(count: int, seed: int = 1) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(0, 1, (count, 6)).astype(np.float32)


def said(folder: Path, file: bytes, x: npt.NDArray[np.float32], **asked: Any) -> list[dict[str, Any]]:
    """The results, without what their time was."""
    problem, emitted = worked(folder, file, x, kind="local", **asked)
    assert problem is None
    for result in emitted["result"]:
        assert result["detail"].pop("seconds") > 0
    return emitted["result"]


def linear(seed: int = 0) -> tuple[bytes, npt.NDArray[np.float64]]:
    weight = np.random.default_rng(seed).standard_normal((6, 4)).astype(np.float32)
    return probabilities_onnx(weight), weight.astype(np.float64).T / STD[0]


def margins(w: npt.NDArray[np.float64], x: npt.NDArray[np.float32]) -> Iterator[tuple[int, Any]]:
    """Of each input its class, and for every other class the margin and its slopes."""
    for z in (x.astype(np.float64) - MEAN[0]) @ w.T:
        y = int(z.argmax())
        yield y, [(z[y] - z[j], w[y] - w[j]) for j in range(4) if j != y]


@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
def test_linear_classifiers(tmp_path: Path, norm: str) -> None:
    (file, w), x = linear(), drawn(8)
    rules = set()
    for result, (y, others) in zip(said(tmp_path, file, x, norm=norm), margins(w, x), strict=True):
        exact = min(margin / np.linalg.norm(slope, DUAL[norm]) for margin, slope in others)
        assert result["prediction"] == y and exact * (1 - NEAR) <= result["radius"] <= exact
        detail = result["detail"]
        assert exact * (1 - 1e-9) <= detail["nearest_attack"] <= 1.01 * exact
        assert result["radius"] == max(detail["local_radius"] or 0, detail["lipschitz_radius"])
        rules.add(detail["rule"])
    assert rules == {"lipschitz" if norm == "l2" else "local"}  # the bound of pairs is exact in l2


def test_within_the_range_alone(tmp_path: Path) -> None:
    """Of a linear classifier an entry moves to the end of the range at most: the exact radius by halving."""
    (file, w), x = linear(), drawn(8, seed=2).round()
    free = said(tmp_path, file, x, norm="linf")
    boxed = said(tmp_path, file, x, norm="linf", box=True)
    larger = 0
    for result, one, (_, others), row in zip(boxed, free, margins(w, x), x.astype(np.float64), strict=True):
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            room = [np.minimum(middle, np.where(slope > 0, row, 1 - row)) for _, slope in others]
            holds = all(m > np.abs(slope) @ r for (m, slope), r in zip(others, room, strict=True))
            low, high = (middle, high) if holds else (low, middle)
        assert low * (1 - NEAR) <= result["radius"] <= low * (1 + 1e-12)
        assert result["detail"]["valid_range"] == [0.0, 1.0] and one["detail"]["valid_range"] is None
        assert result["radius"] >= one["radius"] * (1 - NEAR)
        larger += result["radius"] > 1.001 * one["radius"]
    assert larger


def test_what_only_inputs_out_of_range_change_is_certified_to_its_ends(tmp_path: Path) -> None:
    """The second class wins where the first number is above 1.03125: (x - 0.5) / 0.25 > 2.125."""
    weights = {"w": np.eye(6, 1, dtype=np.float32), "b": np.array([-2], "f4"), "v": np.array([[0, 8]], "f4")}
    nodes = [node("MatMul", ["x", "w"], "0"), node("Add", ["0", "b"], "1"), node("Relu", ["1"], "2")]
    nodes += [node("MatMul", ["2", "v"], "3"), node("Add", ["3", "c"])]
    file = model(nodes, (6,), weights | {"c": np.array([1, 0], "f4")})
    x = np.full((1, 6), 0.5, np.float32)
    x[0, 0] = 0.875
    [free] = said(tmp_path, file, x, cross_check=1)
    assert 0.15625 * (1 - NEAR) <= free["radius"] <= 0.15625
    for norm, farthest in (("l2", np.sqrt(0.875**2 + 5 * 0.25)), ("linf", 0.875), ("l1", 0.875 + 2.5)):
        [boxed] = said(tmp_path, file, x, norm=norm, box=True, cross_check=1)
        assert (1 - NEAR) * farthest < boxed["radius"] <= farthest * (1 + 1e-12)
        assert boxed["detail"]["nearest_attack"] is None and not boxed["detail"]["attack"]["contradicted"]


def test_one_radius_alone(tmp_path: Path) -> None:
    file, x = relu(), drawn(5)
    for norm in ("l2", "linf"):
        radii = [result["radius"] for result in said(tmp_path, file, x, norm=norm)]
        target = float(np.median([radius for radius in radii if radius]))
        seen = set()
        for result, radius in zip(said(tmp_path, file, x, norm=norm, target_radius=target), radii, strict=True):
            detail = result["detail"]
            assert (result["radius"], result["prediction"] is None) in ((target, False), (None, True))
            assert detail["decision"] == ("not certified" if result["abstained"] else "certified")
            if radius is not None and radius >= target:
                assert detail["decision"] == "certified"
            if detail["nearest_attack"] is not None and detail["nearest_attack"] < target:
                assert detail["decision"] == "not certified" and detail["tried"] == 0
            assert detail.get("tried", 0) <= 1
            seen.add(detail["decision"])
        assert seen == {"certified", "not certified"}
    for target, rule in ((1e-6, "lipschitz"), (1e6, None)):
        found = said(tmp_path, file, x, target_radius=target, cross_check=0)
        assert {result["detail"].get("rule") for result in found} == {rule}
        assert not any("tried" in result["detail"] for result in found if rule)  # nothing was searched for


@pytest.mark.parametrize(
    "asked", [{}, {"effort": "quick", "norm": "linf"}, {"effort": "high", "norm": "linf"}], ids=str
)
def test_a_radius_depends_on_no_other_input_of_its_shard(tmp_path: Path, asked: dict[str, Any]) -> None:
    file, x = relu(width=6), drawn(4)
    together = said(tmp_path, file, x, cross_check=0, **asked)
    apart = said(tmp_path, file, x, cross_check=0, order={"indices": [3, 1]}, **asked)
    assert apart == [together[3], together[1]]


def test_more_effort_proves_more(tmp_path: Path) -> None:
    file, x = relu(width=6), drawn(4)
    quick, default, high = (
        [result["radius"] for result in said(tmp_path, file, x, norm="linf", effort=effort)]
        for effort in ("quick", "default", "high")
    )
    for least, more, most in zip(quick, default, high, strict=True):
        assert least * (1 - NEAR) <= more <= most * (1 + NEAR)
    assert sum(quick) < sum(default) < sum(high)


def test_a_network_without_a_lipschitz_bound(tmp_path: Path) -> None:
    """Squares of (x - 0.5) / 0.25, the larger of the first two: another class no nearer than where they are equal."""
    nodes = [node("Mul", ["x", "x"], "s"), node("MatMul", ["s", "w"])]
    file, x = model(nodes, (6,), {"w": np.eye(6, 2, dtype=np.float32)}), drawn(6)
    problem, emitted = worked(tmp_path, file, x, kind="local")
    assert problem is None
    [report] = emitted["report"]
    assert report["lipschitz"] is None and report["valid_range"] is None
    assert [(reason["node"], reason["operator"]) for reason in report["unbounded"]] == [(0, "Mul")]
    for result, row in zip(emitted["result"], np.abs(x.astype(np.float64) - 0.5), strict=True):
        exact = abs(row[0] - row[1]) / np.sqrt(2)
        assert 0.5 * exact <= result["radius"] <= exact
        assert result["detail"]["rule"] == "local" and result["detail"]["lipschitz_radius"] is None


def test_what_has_no_lines_fails_with_the_reasons(tmp_path: Path) -> None:
    nodes = [node("Reshape", ["x", "shape"], "a"), node("LRN", ["a"], "b", size=3), node("Flatten", ["b"])]
    file = model(nodes, (6,), {"shape": np.array([-1, 3, 2], np.int64)})
    problem, emitted = worked(tmp_path, file, drawn(1), kind="local")
    assert problem is not None and problem["type"] == "/problems/method-not-applicable"
    assert problem["detail"] == "local does not apply to this model."
    assert emitted.keys() == {"on"}  # and no result
    [reason] = problem["reasons"]
    assert reason["operator"] == "LRN" and "no lines" in reason["reason"] and "smoothing" in reason["remedy"]


def test_of_ties_and_what_is_not_finite_nothing_is_said(tmp_path: Path) -> None:
    same = {"w": np.ones((6, 2), np.float32)}
    [tie] = said(tmp_path, model([node("MatMul", ["x", "w"])], (6,), same), drawn(1))
    assert (tie["prediction"], tie["radius"], tie["abstained"]) == (None, None, True)
    assert tie["detail"]["clean_prediction"] == 0 and "attack" not in tie["detail"]
    steep = {"w": 1e3 * np.eye(6, 2, dtype=np.float32), "v": np.eye(2, dtype=np.float32)}
    endless = [node("MatMul", ["x", "w"], "z"), node("Exp", ["z"], "e"), node("MatMul", ["e", "v"])]
    [overflow] = said(tmp_path, model(endless, (6,), steep), np.ones((1, 6), np.float32))
    assert (overflow["prediction"], overflow["radius"], overflow["detail"]["clean_prediction"]) == (None, None, None)


def test_a_false_certificate_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the inputs that were drawn, where local bounds lie; of all, where the Lipschitz radius does."""
    file, x = relu(), drawn(4)

    def lying(*args: Any, **more: Any) -> list[LocalResult]:
        [found] = certify(*args, **more)
        distance = 1.5 * more["ceiling"][0]
        return [replace(found, radius=distance, proved=distance, rule="local")]

    monkeypatch.setattr(local, "certify", lying)
    problem, emitted = worked(tmp_path, file, x, kind="local", norm="linf")
    assert problem is None
    attacks = {r["index"]: r["detail"]["attack"] for r in emitted["result"] if "attack" in r["detail"]}
    assert attacks.keys() == {0, 2}
    for index, attack in attacks.items():
        assert attack["contradicted"] and attack["distance"] < emitted["result"][index]["radius"]
        assert attack["adversarial"]["shape"] == [6]
    monkeypatch.undo()

    def steeper(*args: Any, **more: Any) -> list[Any]:
        return [margin._replace(radius=1e3 * (margin.radius or 0.0)) for margin in margin_radius(*args, **more)]

    monkeypatch.setattr(local, "margin_radius", steeper)
    problem, emitted = worked(tmp_path, file, x, kind="local", cross_check=0, norm="linf")
    assert problem is None
    assert [r["detail"]["attack"]["contradicted"] for r in emitted["result"]] == [True] * 4
