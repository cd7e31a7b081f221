"""A window of inputs that share batches, forced on a CPU: what it says is what each input says alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.tables.chunk import REUSED
from radii.graph import normalized, read_onnx, to_module
from radii.smoothing import Noise, chunk_seed, grid_of, input_digest, noise_key, noise_of
from tests.graph.build import model, node
from tests.workers.harness import EXAMPLES
from tests.workers.test_compute import MEAN, STD, agreed, worked
from workers.runner.compute import ShardComputer
from workers.runner.loaded_model import LoadedModel

CLASSES = 4
INPUTS = 12
SIGMA = 0.25
WEIGHT = (20 * np.random.default_rng(5).standard_normal((6, CLASSES))).astype(np.float32)
X = (np.random.default_rng(6).integers(0, 256, (INPUTS, 6)) / 255).astype(np.float32)
FILE = model([node("MatMul", ["x", "w"], "z"), node("Exp", ["z"])], (6,), {"w": WEIGHT})
"""Linear, but infinite where a logit is above 88.7: of some inputs most votes are, so they abstain."""
QUESTIONS = {
    "radius": {"kind": "smoothing", "n": 2500, "n0": 1100},
    "decide": {"kind": "smoothing", "mode": "decide", "target_radius": 0.1, "n": 20_000},
    "predict": {"kind": "prediction", "n": 1500},
}
STAGES = {"pilot": "pilot_counts", "estimate": "counts", "predict": "counts"}
Emitted = dict[str, list[Any]]


def run(folder: Path, together: int | None, question: str, /, ask: Any = agreed, **change: Any) -> tuple[Any, Emitted]:
    """The problem, if there was one, and what was emitted."""
    method = {"sigma": SIGMA, "noise": "gaussian"} | {k: change.pop(k) for k in ("noise", "scores", "n") if k in change}
    if QUESTIONS[question]["kind"] == "smoothing":
        method |= {"cross_check": change.pop("cross_check", 0)}
    computer, batch_size = change.pop("computer", None) or ShardComputer(together), change.pop("batch_size", 100)
    execution = {"executor": "torch", "batch_size": batch_size}
    order = {"inputs": INPUTS, "grid": [0.0, 1.0], "secret": "00" * 32, "execution": execution, **change}
    return worked(folder, FILE, X, computer=computer, ask=ask, order=order, **QUESTIONS[question] | method)


def said(emitted: Emitted) -> dict[int, Any]:
    """All that is said of each input, but for the time it took."""
    for result in emitted["result"]:
        assert result["detail"].pop("seconds", 1.0) > 0
    found = {result["index"]: result for result in emitted["result"]}
    assert len(found) == len(emitted["result"])
    return found


def counted(emitted: Emitted) -> dict[tuple[int, str, int], list[int]]:
    found = {(chunk["index"], chunk["stage"], chunk["number"]): chunk["counts"] for chunk in emitted["chunk"]}
    assert len(found) == len(emitted["chunk"])
    return found


Put = Callable[[Callable[[Any, torch.Tensor], torch.Tensor]], None]


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> Put:
    """Runs the network in float64, whose last bits float32 does not show: no place in a batch matters. (By matrix
    products in float32 some do, on some processors.) Puts a function of it, and of the batch that it is to see, in its
    place."""

    def put(function: Callable[[Any, torch.Tensor], torch.Tensor]) -> None:
        def built(self: LoadedModel, execution: Any, **how: Any) -> Any:
            inner = to_module(self.graph, dtype=torch.float64)
            return lambda batch: function(lambda rows: inner(rows.double()).float(), batch)

        monkeypatch.setattr(LoadedModel, "build", built)

    put(lambda inner, batch: inner(batch))
    return put


@pytest.mark.parametrize(("noise", "grid"), [("gaussian", [0.0, 1.0]), ("gaussian", None), ("laplace", [0.0, 1.0])])
@pytest.mark.parametrize("question", QUESTIONS)
def test_every_input_has_the_votes_that_it_has_alone(
    tmp_path: Path, question: str, noise: str, grid: list[float] | None
) -> None:
    asked = {"noise": noise, "grid": grid}
    _, alone = run(tmp_path, 1, question, **asked)
    results, chunks = said(alone), counted(alone)
    for together, batch_size in ((2, 100), (5, 1000), (64, 7), (64, 1000)):
        problem, found = run(tmp_path, together, question, batch_size=batch_size, **asked)
        assert problem is None and counted(found) == chunks
        for index, result in said(found).items():
            assert result["detail"].pop("batch_size") == batch_size
            assert result == results[index] | {"detail": result["detail"]}
            assert result["detail"] == {k: v for k, v in results[index]["detail"].items() if k != "batch_size"}
    answers = [result["detail"].get("pilot_class", result["prediction"]) for result in results.values()]
    nothing = [result["detail"]["counts"][-1] > 500 or result["detail"]["n"] == 0 for result in results.values()]
    assert len({*answers} - {None}) > 1 and any(result["abstained"] for result in results.values()) and any(nothing)


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_chunk_has_the_votes_of_its_stream(tmp_path: Path, question: str) -> None:
    """By numpy in float64, where no vote is near a tie."""
    noise: Noise
    for grid, noise in (([0.0, 1.0], grid_of("gaussian", SIGMA)), (None, noise_of("gaussian", SIGMA))):
        problem, emitted = run(tmp_path, 64, question, grid=grid, batch_size=1000)
        assert problem is None
        digest = normalized(read_onnx(FILE), MEAN, STD).digest
        for (index, stage, number), counts in counted(emitted).items():
            x = X[index]
            digests = {"model_digest": digest, "input_digest": input_digest(x)}
            key = noise_key(bytes(32), **digests, noise=noise.name, sigma=SIGMA)
            copies = torch.empty((sum(counts), 6))
            noise.stream(chunk_seed(key, stage, number), torch.from_numpy(x))(copies)
            z = (copies.numpy().astype(np.float64) - MEAN[0]) / STD[0] @ WEIGHT.astype(np.float64)
            largest = np.sort(z, axis=1)
            limit = np.log(np.finfo(np.float32).max)
            assert (largest[:, -1] - largest[:, -2]).min() > 1e-4 and np.abs(largest[:, -1] - limit).min() > 1e-4
            votes = np.where(largest[:, -1] > limit, CLASSES, z.argmax(axis=1))
            assert counts == np.bincount(votes, minlength=CLASSES + 1).tolist()
        for index, result in said(emitted).items():
            for stage, name in STAGES.items():
                of_stage = [c for key, c in counted(emitted).items() if key[:2] == (index, stage)]
                if of_stage:
                    assert np.sum(of_stage, axis=0).tolist() == result["detail"][name]


def test_batches_are_whole_and_nearly_full(tmp_path: Path, network: Put) -> None:
    """1100 pilot and 2500 samples of 12 inputs in batches of 1000; the check before counts 7 batches."""
    sizes: list[int] = []

    def recorded(inner: Any, batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        return inner(batch)

    network(recorded)
    for question in QUESTIONS:
        sizes.clear()
        problem, emitted = run(tmp_path, 64, question, batch_size=1000)
        assert problem is None and set(sizes) == {1000}
        samples = sum(sum(counts) for counts in counted(emitted).values())
        wasted = len(sizes) - 7 - samples / 1000
        most = max(result["detail"]["n"] for result in emitted["result"]) / 50  # of which each look is waited for
        assert 0 <= wasted <= (most if question == "decide" else 2)


def test_no_more_inputs_are_under_way_than_may_share_batches(tmp_path: Path) -> None:
    for together in (2, 4, 64):
        _, emitted = run(tmp_path, together, "decide", batch_size=1000)
        order = [chunk["index"] for chunk in emitted["chunk"]]
        spans = [(order.index(index), len(order) - order[::-1].index(index)) for index in range(INPUTS)]
        under_way = max(sum(start <= place < stop for start, stop in spans) for place in range(len(order)))
        assert under_way == together if together < INPUTS else under_way > 4


def test_no_more_is_lost_with_a_worker_than_a_call(tmp_path: Path, network: Put) -> None:
    """In the 18th of 41 batches of estimation, after the 2 of the pilot and the check's 7."""
    batches = 0

    def lost(inner: Any, batch: torch.Tensor) -> torch.Tensor:
        nonlocal batches
        batches += 1
        if batches > 7 + 2 + 17:
            raise RuntimeError("lost")
        return inner(batch)

    network(lost)
    problem, emitted = run(tmp_path, 64, "radius", batch_size=1000, n=40_500, indices=[3])
    assert problem is not None and len(emitted["chunk"]) == 2 + 16


def test_on_a_cpu_inputs_come_one_after_the_other_chunk_by_chunk(tmp_path: Path, network: Put) -> None:
    sizes: list[int] = []

    def recorded(inner: Any, batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        return inner(batch)

    network(recorded)
    problem, emitted = run(tmp_path, None, "radius")
    assert problem is None and [result["index"] for result in emitted["result"]] == list(range(INPUTS))
    pilot, estimate = [("pilot", 0), ("pilot", 1)], [("estimate", number) for number in range(3)]
    order = [(index, *chunk) for index in range(INPUTS) for chunk in pilot + estimate]
    assert [(c["index"], c["stage"], c["number"]) for c in emitted["chunk"]] == order
    assert sizes == [100] * 36 * INPUTS
    sizes.clear()
    run(tmp_path, None, "decide")
    assert set(sizes) == {50, 100}  # a look of 50 is no batch of 100


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_is_known_is_not_counted_again(tmp_path: Path, question: str) -> None:
    """Chunks of an earlier attempt here and there, and whole beginnings from the ledger."""
    _, whole = run(tmp_path, 64, question)
    chunks, expected = counted(whole), said(whole)
    draw = np.random.default_rng(1)
    known = {key: counts for key, counts in chunks.items() if draw.random() < 0.5}
    first = next(iter(STAGES)) if question != "predict" else "predict"  # the stage that comes first
    for index in (3, 4, 8):
        sums = np.sum([counts for key, counts in chunks.items() if key[:2] == (index, first)], axis=0)
        known = {key: counts for key, counts in known.items() if key[:2] != (index, first)}
        known[index, first, REUSED] = sums.tolist()
    left = {key: counts for key, counts in chunks.items() if key not in known and (*key[:2], REUSED) not in known}
    given = [dict(zip(("index", "stage", "number"), key, strict=True), counts=c) for key, c in known.items()]
    for together in (1, 5, 64):
        problem, found = run(tmp_path, together, question, chunks=given)
        assert problem is None
        assert said(found) == expected and counted(found) == left


def test_what_needs_no_samples_asks_for_no_executor(tmp_path: Path) -> None:
    _, whole = run(tmp_path, 64, "radius")
    asked: list[Any] = []
    problem, found = run(tmp_path, 64, "radius", chunks=whole["chunk"], ask=asked.append, execution=None)
    assert problem is None and not asked and not found["chunk"]
    for index, result in said(found).items():
        assert result["detail"]["counts"] == said(whole)[index]["detail"]["counts"]
        assert "executor" not in result["detail"]


@pytest.mark.parametrize("question", QUESTIONS)
def test_who_takes_over_in_the_middle_says_the_same(tmp_path: Path, network: Put, question: str) -> None:
    """Workers that are lost after some batches: the next one has the chunks and results that were kept."""
    _, whole = run(tmp_path, 64, question, batch_size=1000)
    expected, everything = said(whole), counted(whole)
    batches, last = 0, 7 + (3 if question == "decide" else 17)  # the first 7: whether they may be shared

    def lost(inner: Any, batch: torch.Tensor) -> torch.Tensor:
        nonlocal batches
        batches += 1
        if batches > last:
            raise RuntimeError("lost")
        return inner(batch)

    network(lost)
    results: dict[int, Any] = {}
    chunks: list[Any] = []
    attempts = 0
    while left := [index for index in range(INPUTS) if index not in results]:
        attempts, batches = attempts + 1, 0
        kept = [chunk for chunk in chunks if chunk["index"] in left]
        problem, found = run(tmp_path, 64, question, batch_size=1000, indices=left, chunks=kept)
        chunks += found["chunk"]
        results |= said(found)
        assert (problem is None) == (len(results) == INPUTS) and attempts < 40
    assert attempts > 1 and results == expected
    assert counted({"chunk": chunks}) == everything


def test_an_error_in_one_input_loses_nothing_of_the_others(tmp_path: Path) -> None:
    _, whole = run(tmp_path, 64, "radius", batch_size=1000)
    chunks = counted(whole)
    wrong = {"index": 5, "stage": "estimate", "number": 1, "counts": [999, 0, 0, 0, 0]}  # of 1000 samples
    problem, found = run(tmp_path, 64, "radius", batch_size=1000, chunks=[wrong])
    assert problem is not None and problem["type"] == "/problems/internal-error"
    kept = counted(found)
    assert (5, "estimate", 2) in kept and all(chunks[key] == counts for key, counts in kept.items())
    assert any(index > 5 for index, _, _ in kept)  # of the same call
    results = said(found)
    assert {0, 1, 2, 3, 4} == set(results) and all(said(whole)[i] == result for i, result in results.items())
    left = [index for index in range(INPUTS) if index not in results]
    problem, rest = run(tmp_path, 64, "radius", batch_size=1000, chunks=found["chunk"], indices=left)
    assert problem is None and results | said(rest) == said(whole)
    assert kept | counted(rest) == chunks and not kept.keys() & counted(rest).keys()


def test_where_a_place_in_the_batch_matters_no_batch_is_shared(tmp_path: Path, network: Put) -> None:
    """The first row of a batch votes for the last class, whatever it holds."""
    calls = 0

    def unsteady(inner: Any, batch: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        logits = inner(batch).clone()
        logits[0] = torch.arange(CLASSES)
        return logits

    network(unsteady)
    computer = ShardComputer(64)
    for question in QUESTIONS:
        _, alone = run(tmp_path, 1, question, batch_size=100)
        calls = 0
        problem, found = run(tmp_path, 64, question, batch_size=100, computer=computer)
        assert problem is None and found["chunk"] == alone["chunk"]
        assert said(found) == said(alone)
        batches = sum(-(-sum(counts) // 100) for counts in counted(found).values())
        assert calls == batches + (2 if question == "radius" else 0)  # found out once, by two batches


def test_mean_scores_come_input_after_input(tmp_path: Path) -> None:
    problem, found = run(tmp_path, 64, "radius", scores="soft")
    _, alone = run(tmp_path, 1, "radius", scores="soft")
    assert problem is None and found["chunk"] == alone["chunk"] and said(found) == said(alone)
    assert [result["index"] for result in found["result"]] == list(range(INPUTS))


def test_inputs_that_share_batches_are_attacked(tmp_path: Path) -> None:
    _, found = run(tmp_path, 64, "radius", cross_check=INPUTS)
    attacks = [result["index"] for result in found["result"] if "attack" in result["detail"]]
    assert attacks and set(attacks) <= {0, 2}


@pytest.mark.parametrize("executor", ["torch", "torch, channels last", "onnxruntime"])
def test_real_executors_count_the_same_votes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executor: str) -> None:
    """Row-invariant or not: a digit's votes are not so near a tie that a last bit decides one."""
    monkeypatch.undo()
    file, x = (EXAMPLES / "digits.onnx").read_bytes(), np.load(EXAMPLES / "digits.npz")["x"][:6]
    order = {
        "settings": {"input": {"shape": [1, 8, 8], "range": [0.0, 1.0], "mean": [0.0], "std": [1.0]}, "output": None},
        "digest": normalized(read_onnx(file), [0.0], [1.0]).digest,
        "inputs": 6,
        "grid": None,
        "secret": "00" * 32,
        "batch_size": 200,
        "execution": {"executor": executor, "batch_size": 200},
    }
    question = QUESTIONS["radius"] | {"sigma": SIGMA, "cross_check": 0}
    found = [
        worked(tmp_path, file, x, computer=ShardComputer(together), order=order, **question) for together in (1, 64)
    ]
    assert [problem for problem, _ in found] == [None, None]
    assert counted(found[0][1]) == counted(found[1][1]) and len(counted(found[0][1])) == 30
