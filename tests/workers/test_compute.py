"""What the runner computes, without the processes around it."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from models.repositories.chunks import ChunkCounts
from radii.graph import normalized, read_onnx
from radii.smoothing import Grid, grid_of
from tests.graph.build import model, node
from tests.workers import orders
from workers.messages import NetworkFiles
from workers.runner.compute import ShardComputer
from workers.runner.loaded_model import classes, described


def probabilities_onnx(weight: np.ndarray) -> bytes:
    """A linear classifier of 6 numbers that ends in a softmax."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["p"])]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 6])]
    outputs = [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["batch", weight.shape[1]])]
    graph = helper.make_graph(nodes, "linear", inputs, outputs, [numpy_helper.from_array(weight, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString()


MEAN, STD = [0.5], [0.25]


def agreed(proposal: Any) -> Any:
    return proposal


def worked(
    folder: Path,
    file: bytes,
    x: np.ndarray,
    *,
    computer: ShardComputer | None = None,
    ask: Any = agreed,
    order: Any = None,
    **method: Any,
) -> tuple[dict[str, Any] | None, dict[str, list[Any]]]:
    """The problem, if there was one, and what a computer emitted, by kind."""
    (folder / "model.onnx").write_bytes(file)
    np.save(folder / "x.npy", x)
    settings = {"input": {"shape": [6], "range": [0.0, 1.0], "mean": MEAN, "std": STD}, "output": None}
    digest = normalized(read_onnx(file), MEAN, STD).digest
    change = {"cross_check": [0, 2] if method.get("cross_check") != 0 else [], **(order or {})}
    network = NetworkFiles(
        change.pop("settings", settings), str(folder / "model.onnx"), {}, change.pop("digest", digest)
    )
    change["chunks"] = [ChunkCounts(**chunk) for chunk in change.get("chunks", ())]
    whole = {"kind": "lipschitz", **method}
    given = orders.order(folder / "x.npy", len(x), network, whole, **change)
    heard = orders.Heard()
    problem = (computer or ShardComputer()).work(given, heard, ask)
    return problem, heard.emitted


def test_a_final_softmax_costs_no_radius(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    weight = draw.standard_normal((6, 4)).astype(np.float32)
    x = draw.uniform(0, 1, (20, 6)).astype(np.float32)
    problem, emitted = worked(tmp_path, probabilities_onnx(weight), x)
    assert problem is None
    w = weight.astype(np.float64).T / STD[0]
    logits = w @ (x.astype(np.float64) - MEAN[0]).T
    assert len(emitted["result"]) == 20
    for result, z in zip(emitted["result"], logits.T, strict=True):
        y = int(z.argmax())
        exact = min((z[y] - z[j]) / np.linalg.norm(w[y] - w[j]) for j in range(4) if j != y)
        assert result["prediction"] == y
        assert exact * (1 - 1e-6) <= result["radius"] <= exact
        if (attack := result["detail"].get("attack")) is not None:
            assert exact <= attack["distance"] <= 1.01 * exact and not attack["contradicted"]
            assert attack["prediction"] != y and "adversarial" not in attack
    assert [r["index"] for r in emitted["result"] if "attack" in r["detail"]] == [0, 2]
    assert torch.get_num_threads() == 1

    [report] = emitted["report"]  # of the logits below the softmax, of the normalised network
    norm = np.linalg.norm(w, 2)
    assert norm <= report["upper"] <= norm * (1 + 1e-6)
    assert [layer["operator"] for layer in report["layers"]] == ["Sub", "Div", "MatMul"]


def test_radii_in_other_norms(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    weight = draw.standard_normal((6, 4)).astype(np.float32)
    x = draw.uniform(0, 1, (5, 6)).astype(np.float32)
    radii = {}
    for norm in ("l2", "linf", "l1"):
        problem, emitted = worked(tmp_path, probabilities_onnx(weight), x, norm=norm)
        assert problem is None
        radii[norm] = [Fraction(result["radius"]) for result in emitted["result"]]
    assert radii["l1"] == radii["l2"]
    for two, inf in zip(radii["l2"], radii["linf"], strict=True):
        assert two**2 * (1 - Fraction(1, 10**12)) <= 6 * inf**2 <= two**2


def test_what_has_no_bound_fails_with_the_reasons(tmp_path: Path) -> None:
    gates = [node("Mul", ["x", "x"], "s"), node("Exp", ["s"], "e"), node("Mul", ["e", "x"])]
    problem, emitted = worked(tmp_path, model(gates, (6,)), np.zeros((1, 6), "f4"))
    assert problem is not None and problem["type"] == "/problems/method-not-applicable"
    assert emitted.keys() == {"on"}  # and no result
    assert [reason["operator"] for reason in problem["reasons"]] == ["Mul", "Exp", "Mul"]
    assert all(reason["reason"] and reason["remedy"] for reason in problem["reasons"])

    steep = [node("MatMul", ["x", "w"], "0"), *(node("MatMul", [str(i), "w"], str(i + 1)) for i in range(9))]
    file = model(steep, (6,), {"w": np.full((6, 6), 1e38, "f4")}, output="9")
    problem, emitted = worked(tmp_path, file, np.zeros((1, 6), "f4"))
    assert problem is not None and emitted.keys() == {"on"}
    assert "overflows" in problem["reasons"][0]["reason"]


def smoothed(
    folder: Path, computer: ShardComputer, ask: Any = agreed, **order: Any
) -> tuple[dict[str, Any] | None, dict[str, list[Any]]]:
    """The problem, and the results, of three inputs on the grid of 8-bit values."""
    x = np.random.default_rng(2).integers(0, 256, (3, 6)).astype(np.float32) / np.float32(255)
    weight = np.random.default_rng(3).standard_normal((6, 4)).astype(np.float32)
    return worked(
        folder,
        probabilities_onnx(weight),
        x,
        computer=computer,
        ask=ask,
        order={"grid": [0.0, 1.0], "secret": "00" * 32, "inputs": 3, **order},
        kind="smoothing",
        sigma=0.25,
        n=1000,
        cross_check=0,
    )


def test_what_a_saturated_softmax_answers_is_attacked_by_its_logits(tmp_path: Path) -> None:
    """Probabilities of 1 and 0, whose gradient is zero in float32, and votes that all agree."""
    x = np.array([[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]], np.float32)
    file = probabilities_onnx(1e4 * np.eye(6, 4, dtype=np.float32))
    grid = {"grid": [0.0, 1.0], "secret": "00" * 32, "inputs": 3}
    methods: list[dict[str, Any]] = [
        {"kind": "smoothing", "sigma": 0.02, "n": 1000},
        {"kind": "splitting", "sigma": 0.2},
    ]
    for method in methods:
        problem, emitted = worked(tmp_path, file, x, order=grid, **method)
        assert problem is None
        attacks = [r["detail"]["attack"] for r in emitted["result"] if "attack" in r["detail"]]
        assert len(attacks) == 2 and all(attack["contradicted"] is False for attack in attacks)


@pytest.mark.parametrize(
    "method",
    [
        {"kind": "lipschitz"},
        {"kind": "local", "effort": "quick"},
        {"kind": "splitting", "sigma": 0.2},
        {"kind": "smoothing", "sigma": 0.5, "n": 100},
        {"kind": "smoothing", "sigma": 0.5, "n": 1000, "mode": "decide", "target_radius": 0.1},
        {"kind": "smoothing", "sigma": 0.05, "n": 100, "scores": "soft"},
    ],
)
def test_what_the_network_answers_without_noise_stands_in_every_result(tmp_path: Path, method: Any) -> None:
    draw = np.random.default_rng(5)
    weight = draw.standard_normal((6, 4)).astype(np.float32)
    x = draw.integers(0, 256, (20, 6)).astype(np.float32) / np.float32(255)
    order = {"grid": [0.0, 1.0], "secret": "00" * 32, "inputs": 20}
    problem, emitted = worked(tmp_path, probabilities_onnx(weight), x, order=order, **method, cross_check=0)
    assert problem is None
    expected = ((x.astype(np.float64) - MEAN[0]) @ weight).argmax(1).tolist()
    assert [result["detail"]["clean_prediction"] for result in emitted["result"]] == expected


def test_the_first_of_equal_classes_and_none_of_what_is_not_finite() -> None:
    logits = [[0.0, 2.0, 2.0], [0.0, np.nan, 2.0], [0.0, 1.0, np.inf], [3.0, 1.0, -np.inf], [1.0, 0.0, 0.0]]
    assert classes(torch.tensor(logits)) == [1, None, None, None, 0]


def test_broken_noise_certifies_nothing(tmp_path: Path, monkeypatch: Any, caplog: Any) -> None:
    """A processor whose generator is stuck now and then."""
    computer, healthy = ShardComputer(), Grid.stream
    assert grid_of("gaussian", 0.25).name  # a digest of its values, kept for the process: taken before they are broken

    def stuck(self: Grid, seed: bytes, x: torch.Tensor) -> Any:
        fill = healthy(self, seed, x)

        def broken(out: torch.Tensor) -> None:
            fill(out)
            out[1::2] = out[: len(out) // 2 * 2 : 2]

        return broken

    monkeypatch.setattr(Grid, "stream", stuck)
    problem, emitted = smoothed(tmp_path, computer)
    assert problem is not None and problem["type"] == "/problems/broken-noise"
    assert "successive samples" in problem["detail"] and "gaussian" in problem["detail"]
    assert emitted.keys() == {"on"} and "successive samples" in caplog.text
    monkeypatch.undo()
    problem, emitted = smoothed(tmp_path, computer)
    assert problem is None and len(emitted["result"]) == 3


def test_another_workers_choice_of_executor_is_adopted(tmp_path: Path) -> None:
    """It is asked for once, before the first sample, and not at all where it is known, or nothing is sampled."""
    asked = []

    def settled(proposal: Any) -> Any:
        asked.append(proposal)
        return {"executor": "onnxruntime", "batch_size": 50}

    computer = ShardComputer()
    problem, emitted = smoothed(tmp_path, computer, settled, batch_size=None)
    assert problem is None and len(asked) == 1 and asked[0]["executor"] in ("torch", "onnxruntime")
    for result in emitted["result"]:
        assert (result["detail"]["executor"], result["detail"]["batch_size"]) == ("onnxruntime", 50)

    chunks = json.loads(json.dumps(emitted["chunk"]))
    _, alone = smoothed(tmp_path, computer, settled)
    assert len(asked) == 2 and asked[1]["batch_size"] == 7  # the setting's
    _, resumed = smoothed(tmp_path, computer, settled, chunks=chunks[:3], execution=settled({}))
    assert len(asked) == 3 and resumed["chunk"] == chunks[3:]
    counts = [[result["detail"]["counts"] for result in run["result"]] for run in (emitted, alone, resumed)]
    assert counts[0] == counts[1] == counts[2]
    _, whole = smoothed(tmp_path, computer, settled, chunks=chunks)
    assert len(asked) == 3 and "executor" not in whole["result"][0]["detail"]


def test_what_an_earlier_search_found_is_taken_where_it_applies(tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    def settled(proposal: Any) -> Any:
        asked.append(proposal)
        return {"executor": "torch", "batch_size": 100}

    def searched(executor: str, method: dict[str, Any], **said: Any) -> dict[str, Any]:
        searched = {"device": described(torch.device("cpu")), "samples": 10**8, **said}
        return {"executor": executor, "batch_size": 50, "searched": searched, "method": {"kind": "smoothing"} | method}

    others = [
        searched("a", {}, device="cuda, H"),
        searched("b", {}, samples=10**5),
        searched("c", {"scores": "soft"}),
        searched("d", {"precision": "bfloat16"}),
    ]
    same = searched("onnxruntime", {"kind": "prediction"})
    computer = ShardComputer()
    for known in ([*others, same], others):
        smoothed(tmp_path, computer, settled, batch_size=None, executions=known, inputs=10_000)
    samples = 1100 * 10_000
    assert asked[0] == {key: same[key] for key in ("executor", "batch_size", "searched")}
    assert asked[1]["searched"] == {"device": described(torch.device("cpu")), "samples": samples}
    assert asked[1]["executor"] in ("torch", "onnxruntime")
    smoothed(tmp_path, computer, settled, executions=[same], inputs=10_000)  # the setting's batch size
    assert asked[2]["batch_size"] == 7 and "searched" not in asked[2]


def test_bfloat16_is_another_classifier_and_is_attacked_as_such(tmp_path: Path) -> None:
    """Logits 1 and 1 + 2^-10, but for some 2^-13: eight bits can't tell them apart, and a tie goes to the first."""
    slopes = {"w": 2.0**-15 * np.random.default_rng(2).standard_normal((6, 2)).astype(np.float32)}
    file = model(
        [node("MatMul", ["x", "w"], "z"), node("Add", ["z", "b"])],
        (6,),
        slopes | {"b": np.array([1, 1 + 2**-10], np.float32)},
    )
    x = (np.random.default_rng(3).integers(0, 256, (3, 6)) / 255).astype(np.float32)
    for precision, votes in (("float32", [0, 2000, 0]), ("bfloat16", [2000, 0, 0])):
        for kind, given in (("smoothing", {"cross_check": 3}), ("prediction", {})):
            order = {"inputs": 3, "grid": [0.0, 1.0], "secret": "00" * 32, "batch_size": None}
            question: dict[str, Any] = {"kind": kind, "sigma": 0.25, "n": 2000, "precision": precision, **given}
            problem, emitted = worked(tmp_path, file, x, order=order, **question)
            assert problem is None
            for result in emitted["result"]:
                assert (result["detail"]["counts"], result["prediction"]) == (votes, int(votes[1] > 0))
                assert result["detail"].get("clean_prediction", int(votes[1] > 0)) == int(votes[1] > 0)
            if given:
                attacks = [result["detail"]["attack"] for result in emitted["result"] if "attack" in result["detail"]]
                assert [attack["contradicted"] for attack in attacks] == [False, False]


def test_inputs_off_the_grid_are_answered_as_the_grid_certifies(tmp_path: Path) -> None:
    """Whether a value lies below 100.4 steps or above: noise of a twentieth of a step moves few of them across the next
    half step, where rounding turns, and others across that one."""
    weight = np.zeros((6, 2), np.float32)
    weight[0] = 0, 1
    steps = np.array([[99.9, 0, 0, 0, 0, 0], [100.3, 0, 0, 0, 0, 0], [100.45, 0, 0, 0, 0, 0]])
    bias = np.array([0, -(100.4 / 255 - MEAN[0]) / STD[0]], np.float32)
    file = model([node("MatMul", ["x", "w"], "z"), node("Add", ["z", "b"])], (6,), {"w": weight, "b": bias})
    x = (steps / 255).astype(np.float32)
    order = {"inputs": 3, "grid": None, "secret": "00" * 32}
    for kind, given in (("smoothing", {"cross_check": 3}), ("prediction", {})):
        found = {}
        for grid in ("on", "auto"):
            question: dict[str, Any] = {"kind": kind, "sigma": 0.05 / 255, "n": 2000, "grid": grid, **given}
            problem, emitted = worked(tmp_path, file, x, order=order, **question)
            assert problem is None
            found[grid] = [result["detail"]["counts"] for result in emitted["result"]]
            assert [result["detail"].get("rounded_to") for result in emitted["result"]] == [
                [0.0, 1.0] if grid == "on" else None
            ] * 3
            assert not any(result["detail"].get("attack", {}).get("contradicted") for result in emitted["result"])
        # P(100.45 / 255 + noise rounds to 101) = P(Z > 1): 2000 of them are 317 but for 6 deviations
        assert found["on"][:2] == [[2000, 0, 0]] * 2 and abs(found["on"][2][1] - 317.3) < 6 * 16.4
        assert abs(found["auto"][1][1] - 45.5) < 6 * 6.7 and abs(found["auto"][2][0] - 317.3) < 6 * 16.4


def test_what_bfloat16_makes_another_network_of_is_refused(tmp_path: Path) -> None:
    """A network that adds 1e4 and takes it off again: of its logits nothing is left."""
    weight = np.random.default_rng(3).standard_normal((6, 2)).astype(np.float32)
    big = {"w": weight, "b": np.full(2, 1e4, np.float32)}
    file = model([node("MatMul", ["x", "w"], "z"), node("Add", ["z", "b"], "a"), node("Sub", ["a", "b"])], (6,), big)
    x = np.random.default_rng(4).uniform(0, 1, (3, 6)).astype(np.float32)
    order = {"inputs": 3, "grid": None, "secret": "00" * 32}
    question: dict[str, Any] = {"kind": "prediction", "sigma": 0.1, "n": 500}
    problem, emitted = worked(tmp_path, file, x, order=order, precision="bfloat16", **question)
    assert problem is not None and problem["type"] == "/problems/imprecise-network"
    assert emitted.keys() == {"on"}
    assert "In bfloat16 some logits differ" in problem["detail"] and "float32" in problem["remedy"]
    problem, emitted = worked(tmp_path, file, x, order=order, **question)
    assert problem is None and len(emitted["result"]) == 3


def test_a_network_that_raises_is_named_with_its_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a device has no kernel for an operator: no network is known that does so on a CPU."""
    operator = read_onnx(probabilities_onnx(np.ones((6, 4), np.float32))).nodes[0].operator

    def run(*_: Any) -> Any:
        raise RuntimeError("no kernel image is available\nfor execution")

    computer = ShardComputer()
    assert smoothed(tmp_path, computer)[0] is None
    monkeypatch.setattr(type(operator), "run", run)
    problem, _ = smoothed(tmp_path, computer)
    assert problem is not None and problem["type"] == "/problems/network-failed"
    assert f"its {operator.name} (node " in problem["detail"]
    assert problem["detail"].endswith("raised RuntimeError: no kernel image is available.")


def test_a_model_that_is_another_than_at_intake_is_unreadable(tmp_path: Path) -> None:
    order = {"digest": "0" * 64}
    problem, emitted = worked(
        tmp_path, probabilities_onnx(np.eye(6, 4, dtype="f4")), np.zeros((1, 6), "f4"), order=order
    )
    assert problem is not None and problem["type"] == "/problems/model-unreadable"
    assert "intake found " + "0" * 64 in problem["detail"]
    assert not emitted
