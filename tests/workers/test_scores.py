"""Mean scores as the runner computes them: the network's constant, interruption, the ledger."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from models.tables.chunk import REUSED
from radii.graph import normalized, read_onnx
from radii.lipschitz import network_bound
from radii.smoothing import bernstein_interval
from radii.smoothing.simplex import Scoring
from tests.graph.build import model, node
from tests.workers.test_compute import MEAN, STD, probabilities_onnx, worked


def asked_for_scores(folder: Path, *, steep: float, method: Any = None, **order: Any) -> Any:
    """What a computer makes of mean scores of a linear classifier of two classes."""
    weight, x = small_classifier(steep)
    question = {"kind": "smoothing", "scores": "soft", "sigma": 0.1, "n": 2500, "cross_check": 0}
    given = {"inputs": 5, "grid": None, "secret": "00" * 32, **order}
    return worked(folder, probabilities_onnx(weight), x, order=given, **question | (method or {}))


def small_classifier(steep: float) -> tuple[np.ndarray, np.ndarray]:
    """Its weight, and five inputs."""
    draw = np.random.default_rng(3)
    weight = (steep * draw.standard_normal((6, 2))).astype(np.float32)
    return weight, (draw.integers(0, 256, (5, 6)) / 255).astype(np.float32)


def soft(folder: Path, *, steep: float, **given: Any) -> tuple[list[Any], list[Any], list[float]]:
    """Its results and chunks, and the exact radii."""
    problem, emitted = asked_for_scores(folder, steep=steep, **given)
    assert problem is None
    weight, x = small_classifier(steep)
    w = (weight[:, 0] - weight[:, 1]).astype(np.float64) / STD[0]
    exact = np.abs((x.astype(np.float64) - MEAN[0]) @ w) / np.linalg.norm(w)
    return emitted["result"], json.loads(json.dumps(emitted["chunk"])), exact.tolist()


def test_mean_scores_count_on_a_small_constant(tmp_path: Path) -> None:
    """Fixed key; a certificate is false with probability 0.001."""
    found, chunks, exact = soft(tmp_path, steep=0.05, method={"cross_check": 2})
    attacks = {r["index"]: r["detail"]["attack"] for r in found if "attack" in r["detail"]}
    assert attacks and set(attacks) <= {0, 2} and not any(attack["contradicted"] for attack in attacks.values())
    gains = []
    for result, radius in zip(found, exact, strict=True):
        detail = result["detail"]
        assert sum(detail["counts"]) == 2500 and abs(sum(detail["scores"]["mean"]) - 1) < 1e-12
        if result["radius"] is not None:
            assert result["radius"] <= radius
            assert detail["plain_radius"] is None or detail["plain_radius"] <= result["radius"]
        if detail["scores"]["lipschitz"] is not None:
            assert detail["scores"]["why_not"] is None and detail["plain_radius"] < result["radius"]
            gains.append(result["radius"] / detail["plain_radius"])
        else:
            assert detail["scores"]["why_not"]
    assert max(gains) > 1.3
    assert [(c["stage"], c["number"]) for c in chunks[:4]] == [("pilot", 0), *(("estimate", i) for i in range(3))]


def test_an_interrupted_run_of_scores_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole, chunks, _ = soft(tmp_path, steep=0.05)
    execution = {key: whole[0]["detail"][key] for key in ("executor", "batch_size")}
    again, more, _ = soft(tmp_path, steep=0.05, chunks=chunks[:6], execution=execution)
    assert len(chunks) == 20 and more == chunks[6:]
    for one, other in zip(whole, again, strict=True):
        for result in (one, other):
            del result["detail"]["seconds"]
        assert one == other


def test_four_workers_and_one_draw_the_same_scores(tmp_path: Path) -> None:
    whole, _, _ = soft(tmp_path, steep=0.05)
    shards = [[3, 4], [0], [2], [1]]
    apart = [soft(tmp_path, steep=0.05, indices=indices)[0] for indices in shards]
    parts = {result["index"]: result for results in apart for result in results}
    for result in whole:
        part = parts[result["index"]]
        for one in (result, part):
            del one["detail"]["seconds"]
        assert part == result


def test_scores_of_the_ledger_are_not_drawn_again_and_have_to_be_those(tmp_path: Path) -> None:
    first, chunks, _ = soft(tmp_path, steep=0.05)
    known = [chunk | {"number": REUSED} for chunk in chunks if chunk["stage"] == "pilot"]
    for result in first:
        counts, scores = result["detail"]["counts"], result["detail"]["scores"]
        of_all = {"index": result["index"], "stage": "estimate", "number": REUSED, "counts": counts, "scores": scores}
        known.append(json.loads(json.dumps(of_all)))
    again, drawn, _ = soft(tmp_path, steep=0.05, chunks=known)
    assert not drawn
    for one, other in zip(first, again, strict=True):
        del one["detail"]["executor"], one["detail"]["batch_size"], one["detail"]["device"]  # nothing ran
        for result in (one, other):
            del result["detail"]["seconds"]
        assert one == other
    known[-1]["scores"]["precision"] = "float32"  # which may not count on the constant
    problem, emitted = asked_for_scores(tmp_path, steep=0.05, chunks=known)
    assert problem is not None and problem["type"] == "/problems/internal-error"
    assert [result["index"] for result in emitted["result"]] == [0, 1, 2, 3]


def test_what_the_logits_may_be_off_by_is_taken_off_the_mean_scores(tmp_path: Path) -> None:
    """A network that adds 1e6 and takes it off again: float64 keeps some ten digits of its logits."""
    weight = (0.05 * np.random.default_rng(3).standard_normal((6, 2))).astype(np.float32)
    big = {"w": weight, "b": np.full(2, 1e6, np.float32)}
    nodes = [node("MatMul", ["x", "w"], "z"), node("Add", ["z", "b"], "a"), node("Sub", ["a", "b"])]
    file = model(nodes, (6,), big)
    x = np.random.default_rng(4).uniform(0, 1, (3, 6)).astype(np.float32)
    order = {"inputs": 3, "grid": None, "secret": "00" * 32}
    question: dict[str, Any] = {"kind": "smoothing", "scores": "soft", "sigma": 0.1, "n": 2500, "cross_check": 0}
    problem, emitted = worked(tmp_path, file, x, order=order, **question)
    assert problem is None
    bound, judged = network_bound(normalized(read_onnx(file), MEAN, STD)), 0
    for row, result in zip(x, emitted["result"], strict=True):
        detail, top = result["detail"], result["detail"]["pilot_class"]
        scoring = Scoring(detail["scores"]["map"], detail["scores"]["factor"])
        if scoring.map == "hardmax":
            continue
        judged += 1
        mean, variance = detail["scores"]["mean"][top], detail["scores"]["variance"][top]
        delta = 0.001 if detail["sides"] == "one-sided" else 0.0005
        low = bernstein_interval(mean, variance, 2500, delta=delta)[0]
        apart = scoring.lipschitz(bound.error.at(float(np.linalg.norm(row.astype(float)))))  # at the input, at least
        assert apart is not None and apart > 1e-11
        assert detail["p_lower"] <= low - apart
    assert judged


def test_why_a_constant_does_not_help_is_said(tmp_path: Path) -> None:
    found, _, exact = soft(tmp_path, steep=1e4)
    assert all("no map makes scores gentler" in result["detail"]["scores"]["why_not"] for result in found)
    on_grid, *_ = soft(tmp_path, steep=0.05, grid=[0.0, 1.0])
    assert not any(result["detail"]["noise"].startswith("grid") for result in on_grid)  # scores of rounded inputs jump
    insisting, *_ = soft(tmp_path, steep=0.05, grid=[0.0, 1.0], method={"grid": "on"})
    assert all(result["detail"]["noise"].startswith("grid") for result in insisting)
    assert all("grid is on" in result["detail"]["scores"]["why_not"] for result in insisting)
    for result, radius in zip(found, exact, strict=True):
        assert result["radius"] is None or result["radius"] <= radius
