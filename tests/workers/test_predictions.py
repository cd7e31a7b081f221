"""Real workers answer for the smoothed classifier: what the library counts, whatever happens to the processes."""

import os
import signal
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from sqlalchemy import select

from models.repositories import results
from models.states import TERMINAL
from models.tables import Certification, Ledger, Result
from radii.graph import normalized, read_onnx, to_module
from radii.smoothing import chunk_size, chunks, count_chunk, gaussian, input_digest, noise_key, prediction_test
from tests.workers.harness import EXAMPLES, SECRET, Service

DIGITS = np.load(EXAMPLES / "digits.npz")
MODEL = (EXAMPLES / "digits.onnx").read_bytes()


@cache
def truth(index: int, n: int, sigma: float = 0.25) -> list[int]:
    """The votes for one of the digits, by the library in this process."""
    graph = normalized(read_onnx(MODEL), [0.0], [1.0])
    x, noise = DIGITS["x"][index], gaussian(sigma)
    key = noise_key(
        bytes.fromhex(SECRET), model_digest=graph.digest, input_digest=input_digest(x), noise=noise.name, sigma=sigma
    )
    network = to_module(graph)
    ask: dict[str, Any] = {"num_classes": 10, "noise": noise, "key": key, "stage": "predict", "batch_size": 250}
    parts = [
        count_chunk(network, torch.from_numpy(x), number=number, size=chunk_size(n, number), **ask)
        for number in range(chunks(n))
    ]
    counts: list[int] = np.sum(parts, axis=0).tolist()
    return counts


def answered(service: Service, job: str) -> list[Result]:
    """The results of a prediction, which must succeed."""
    row = service.wait(Certification, job, *TERMINAL)
    assert (row.state, row.done) == ("succeeded", row.total), row.problem
    with service.database.read() as session:
        return list(results.page(session, job, after=None, limit=100)[0])


def test_an_answer_is_the_library_s_says_when_it_abstains_and_stands(service: Service, digits: tuple[str, str]) -> None:
    service.start()
    # So much noise and so few votes that some answers are not known.
    job = service.certify(*digits, 8, kind="prediction", sigma=1.0, n=100, alpha=0.01, family_wise=True)
    found = answered(service, job)
    for r in found:
        counts = truth(r.index, 100, 1.0)
        answer = prediction_test(counts, alpha=0.01 / 8, tail_mass=gaussian(1.0).tail_mass(64))
        assert (r.prediction, r.radius, r.abstained) == (answer.prediction, None, answer.prediction is None)
        assert (r.detail["counts"], r.detail["n"]) == (counts, 100)
        assert r.detail["p_value"] == pytest.approx(answer.p_value, rel=1e-9)
    abstained = sum(r.abstained for r in found)
    assert 0 < abstained < 8
    summary = service.get(Certification, job).summary
    summary.pop("execution")
    assert summary == {
        "inputs": 8,
        "inputs_asked": 8,
        "complete": True,
        "abstained": abstained,
        "accuracy": sum(r.prediction == r.label for r in found) / 8,
        **dict.fromkeys(("clean_accuracy", "at_target", "median_radius", "decisions")),
    }

    # Asked again it costs nothing, and certification has other noise.
    certified = answered(service, service.certify(*digits, 1, kind="smoothing", sigma=0.25, n=1000, cross_check=0))
    asked = {}
    for name, n, sigma in (("first", 1500, 0.25), ("again", 1500, 0.25), ("more", 2500, 0.25), ("other", 1000, 0.5)):
        job = service.certify(*digits, 1, kind="prediction", sigma=sigma, n=n)
        (asked[name],) = answered(service, job)
    others: dict[str, Any] = {"narrow": {"precision": "bfloat16"}, "rounded": {"grid": "on"}}
    for name in ("narrow", "narrow again", "rounded", "rounded again"):
        job = service.certify(*digits, 1, kind="prediction", sigma=0.25, n=1500, **others[name.split()[0]])
        (asked[name],) = answered(service, job)
    reused = {name: result.detail["reused"] for name, result in asked.items()}
    assert reused == {"first": 0, "again": 1500, "more": 1000, "other": 0} | {
        "narrow": 0,
        "narrow again": 1500,
        "rounded": 0,
        "rounded again": 1500,
    }
    assert asked["first"].detail["counts"] == asked["again"].detail["counts"] == truth(0, 1500)
    assert asked["more"].detail["counts"] == truth(0, 2500)
    with service.database.read() as session:
        rows = session.execute(select(Ledger.stage, Ledger.samples)).all()
    samples = {stage: sorted(n for other, n in rows if other == stage) for stage, _ in rows}
    assert samples == {
        "estimate": [1000],
        "pilot": [100],
        "predict": [100] * 8 + [1000] * 4 + [1500] * 3 + [2000, 2500],
    }
    assert certified[0].detail["counts"] != truth(0, 1000)
    was = [{"noise": "gaussian", "sigma": sigma, "grid": None} for sigma in (0.25, 1.0)]
    assert asked["other"].detail["other_noises"] == was  # of predictions
    was.insert(1, {"noise": "gaussian", "sigma": 0.5, "grid": None})
    assert asked["narrow"].detail["other_noises"] == was
    assert asked["rounded"].detail["rounded_to"] == [0, 1] and "rounded_to" not in asked["first"].detail
    again = service.certify(*digits, 1, kind="smoothing", sigma=0.25, n=1000, cross_check=0)
    assert "other_noises" not in answered(service, again)[0].detail  # what was predicted certified nothing


def test_kill_9_of_a_worker_amid_a_prediction_changes_no_vote(service: Service, digits: tuple[str, str]) -> None:
    job = service.certify(*digits, 1, kind="prediction", sigma=0.25, n=500_000)
    worker = service.start()
    service.halfway(job)
    os.kill(worker.pid, signal.SIGKILL)
    service.start()
    assert [r.detail["counts"] for r in answered(service, job)] == [truth(0, 500_000)]
