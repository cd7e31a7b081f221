"""Real workers bound a regressor's medians: what the library says, whatever happens to the processes."""

import io
import math
import os
import signal
from typing import Any

import numpy as np
import torch
from sqlalchemy import delete, select

from models.states import TERMINAL
from models.tables import Answer, Certification, Dataset, Ledger, Model, Result
from radii.execution import executors
from radii.graph import Graph, composed, normalized, read_onnx
from radii.smoothing import Noise, certify_median, gaussian, grid_of, input_digest, noise_key
from tests import factories
from tests.graph.build import model, node
from tests.workers.answers import results
from tests.workers.harness import SECRET, Service

RNG = np.random.default_rng(7)
WEIGHT = RNG.normal(size=(64, 2)).astype(np.float32) / 8
BIAS = np.array([3.0, 2.0], np.float32)
PIXELS = (RNG.integers(0, 256, (3, 1, 8, 8)) / 255).astype(np.float32)


def regressor() -> bytes:
    """Two outputs: a linear one, and the square root of another, which noise makes negative now and then."""
    nodes = [
        node("Flatten", ["x"], "f"),
        node("Gemm", ["f", "w", "b"], "z"),
        node("Gather", ["z", "first"], "a", axis=1),
        node("Gather", ["z", "second"], "c", axis=1),
        node("Sqrt", ["c"], "r"),
        node("Concat", ["a", "r"], axis=1),
    ]
    constants: dict[str, np.ndarray] = {"w": WEIGHT, "b": BIAS, "first": np.array([0]), "second": np.array([1])}
    return model(nodes, (1, 8, 8), constants)


def graph() -> Graph:
    return normalized(read_onnx(regressor(), task="regressor"), [0.0], [1.0])


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def ready(service: Service) -> tuple[str, str]:
    """Ids of the regressor and of inputs without labels, taken in by a worker."""
    network, data = service.add_model(regressor(), task="regressor"), service.add_dataset(npz(x=PIXELS))
    row = service.wait(Model, network, "ready", "rejected")
    assert row.state == "ready", row.problem
    assert (row.summary["num_outputs"], row.summary["num_classes"]) == (2, None)
    assert [m["kind"] for m in row.summary["methods"] if m["applies"]] == ["median"]
    assert row.summary["checked"]["max_relative_difference"] < 1e-5
    service.wait(Dataset, data, "ready")
    return network, data


def truth(network: Graph, index: int, noise: Noise, execution: dict[str, Any], **ask: Any) -> list[list[float | None]]:
    """Median, lower and upper bounds, by the library in this process and the executor that the service chose."""
    x = PIXELS[index]
    key = noise_key(
        bytes.fromhex(SECRET),
        model_digest=network.digest,
        input_digest=input_digest(x),
        noise=noise.name,
        sigma=noise.sigma,
    )
    runs = executors.build(execution["executor"], network, torch.device("cpu"))
    call = {"outputs": 2, "noise": noise, "key": key, "batch_size": execution["batch_size"]}
    found = certify_median(runs, torch.from_numpy(x), **call, **ask)
    return [[v if math.isfinite(v) else None for v in row] for row in (found.median, found.lower, found.upper)]


def said(row: Result) -> list[list[float | None]]:
    return [row.detail[name] for name in ("median", "lower", "upper")]


def bounded(service: Service, job: str) -> list[Result]:
    """The results of a median, which must succeed."""
    row = service.wait(Certification, job, *TERMINAL)
    assert (row.state, row.done) == ("succeeded", row.total), row.problem
    return results(service, job)


def test_bounds_are_the_library_s_on_both_noises_and_stand(service: Service) -> None:
    service.start()
    ids = ready(service)
    question: dict[str, Any] = {
        "kind": "median",
        "sigma": 0.75,
        "radius": 0.5,
        "n": 1000,
        "alpha": 0.01,
        "family_wise": True,
    }
    jobs = {grid: service.certify(*ids, 3, grid=grid, **question) for grid in ("auto", "off")}
    ask = {"radius": 0.5, "n": 1000, "alpha": math.nextafter(0.01 / 3, 0)}
    for job, noise in zip(jobs.values(), (grid_of("gaussian", 0.75), gaussian(0.75)), strict=True):
        rows = bounded(service, job)
        assert [(r.index, r.label, r.prediction, r.radius, r.abstained) for r in rows] == [
            (i, None, None, 0.5, False) for i in range(3)
        ]
        summary = service.get(Certification, job).summary
        execution = summary.pop("execution")
        assert ("other_noises" in summary) is (noise.name == gaussian(0.75).name)
        summary.pop("other_noises", None)
        nothing = dict.fromkeys(("accuracy", "clean_accuracy", "at_target", "median_radius", "decisions"))
        assert summary == {"inputs": 3, "inputs_asked": 3, "complete": True, "abstained": 0, **nothing}
        slope = float(np.linalg.norm(WEIGHT[:, 0].astype(np.float64)))
        for r in rows:
            assert said(r) == truth(graph(), r.index, noise, execution, **ask)
            assert (sum(r.detail["counts"]), r.detail["n"], r.detail["noise"]) == (1000, 1000, noise.name)
            assert r.detail["counts"][1] > 0  # some roots were of negative numbers
            # What is false with probability 0.01 for all inputs together: the linear output's range within the radius,
            # where rounding to the grid shifts it by next to nothing.
            exact = float(PIXELS[r.index].reshape(-1).astype(np.float64) @ WEIGHT[:, 0] + BIAS[0])
            assert r.detail["lower"][0] <= exact - slope * 0.5 and exact + slope * 0.5 <= r.detail["upper"][0]
    first = [said(r) for r in bounded(service, jobs["auto"])]

    again = bounded(service, service.certify(*ids, 3, **question))
    assert [said(r) for r in again] == first
    assert all(r.detail["reused"] == 1000 and "executor" in r.detail for r in again)
    wider = bounded(service, service.certify(*ids, 3, **question | {"radius": 0.75}))
    assert all(r.detail["reused"] == 0 for r in wider)  # another question: its bounds are not kept
    assert all(
        r.detail["lower"][0] < a[1][0] and r.detail["upper"][0] > a[2][0] for r, a in zip(wider, first, strict=True)
    )
    assert [r.detail["median"] for r in wider] == [a[0] for a in first]  # of the same samples
    with service.database.read() as session:
        stages = [stage.split()[0] for stage in session.scalars(select(Ledger.stage))]
    assert stages == ["median"] * 9
    other = bounded(service, service.certify(*ids, 1, kind="median", sigma=0.5, radius=0.5, n=1000))
    was = [{"noise": "gaussian", "sigma": 0.75, "grid": grid} for grid in ([0.0, 1.0], None)]
    assert other[0].detail["other_noises"] == was


def test_bounds_from_the_ledger_name_the_noise_and_the_executor_that_made_them(service: Service) -> None:
    service.start()
    ids = ready(service)
    question: dict[str, Any] = {"kind": "median", "sigma": 0.75, "radius": 0.5, "n": 500}
    (first,) = bounded(service, service.certify(*ids, 1, **question))
    made = {"noise": "of another device", "executor": "of another device", "batch_size": 7}
    with service.database.write() as session:
        known = session.scalars(select(Ledger)).one()
        assert known.scores is not None and known.scores.keys() >= made.keys()
        assert all(known.scores[name] == first.detail[name] for name in made)
        known.scores = known.scores | made
        session.execute(delete(Answer))  # as before whole answers were kept
    (again,) = bounded(service, service.certify(*ids, 1, **question))
    assert again.detail["reused"] == 500 and said(again) == said(first)
    assert {name: again.detail[name] for name in made} == made


def test_so_many_outputs_that_are_not_finite_leave_nothing_certain(service: Service) -> None:
    service.start()
    ids = ready(service)
    (row,) = bounded(service, service.certify(*ids, 1, kind="median", sigma=50.0, radius=0.5, n=500))
    assert row.detail["counts"][1] > 100
    assert row.detail["lower"][1] is None and row.detail["upper"][1] is None
    assert None not in (row.detail["lower"][0], row.detail["upper"][0]) and not row.abstained


def test_a_denoiser_in_front_of_a_regressor(service: Service) -> None:
    blur = model(
        [node("Conv", ["x", "w"], pads=[1, 1, 1, 1])], (1, 8, 8), {"w": np.full((1, 1, 3, 3), 1 / 9, np.float32)}
    )
    service.start()
    ids = ready(service)
    front = service.add_model(blur, task="denoiser", input=factories.INPUT | {"mean": [0.1], "std": [0.5]})
    service.wait(Model, front, "ready")
    job = service.certify(*ids, 1, denoiser=front, kind="median", sigma=0.25, radius=0.25, n=500)
    (row,) = bounded(service, job)
    both = composed(normalized(read_onnx(blur, task="denoiser"), [0.1], [0.5]), graph())
    summary = service.get(Certification, job).summary
    assert said(row) == truth(both, 0, grid_of("gaussian", 0.25), summary["execution"], radius=0.25, n=500, alpha=0.001)
    assert summary["networks"].keys() == {"regressor", "denoiser"}


def test_kill_9_of_a_worker_amid_an_input_changes_nothing(service: Service) -> None:
    worker = service.start()
    ids = ready(service)
    n = 600_000
    job = service.certify(*ids, 3, shard_inputs=3, kind="median", sigma=0.25, radius=0.25, n=n)
    service.halfway(job)  # an input takes about a second, and that is how often its samples are written
    os.kill(worker.pid, signal.SIGKILL)
    service.start()
    rows = bounded(service, job)
    execution = service.get(Certification, job).summary["execution"]
    for row in rows:
        assert said(row) == truth(
            graph(), row.index, grid_of("gaussian", 0.25), execution, radius=0.25, n=n, alpha=0.001
        )
        assert (sum(row.detail["counts"]), row.detail["reused"]) == (n, 0)
