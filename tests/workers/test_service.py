"""Real workers on a real Redis: what comes out is what the library computes, whatever happens to the processes."""

import io
import json
import os
import signal
from functools import cache
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from sqlalchemy import select

from models.curve import DECISIONS
from models.repositories import certifications
from models.states import TERMINAL
from models.tables import Certification, Dataset, Model, Report, Result, Shard
from radii.graph import composed, normalized, read_onnx, to_module
from radii.lipschitz import margin_radius, network_bound
from radii.smoothing import GridGaussian, GridLaplace, Uniform, certify, gaussian, input_digest, noise_key
from tests import factories
from tests.graph.build import model, node
from tests.reports import nearly, timeless
from tests.workers.harness import EXAMPLES, SECRET, Service, wait_for

LONG = {"kind": "smoothing", "sigma": 0.25, "n": 300_000}  # an input is a shard of about a second
RUNNER, READER = "workers.runner", "workers.read_upload"
DIGITS = np.load(EXAMPLES / "digits.npz")


def results(service: Service, certification: str) -> list[Result]:
    with service.database.read() as session:
        query = select(Result).where(Result.certification_id == certification).order_by(Result.index)
        return list(session.scalars(query))


def reports(service: Service, certification: str) -> list[Any]:
    with service.database.read() as session:
        return list(session.scalars(select(Report.document).where(Report.certification_id == certification)))


def shards(service: Service, certification: str) -> list[Shard]:
    with service.database.read() as session:
        return list(session.scalars(select(Shard).where(Shard.certification_id == certification).order_by(Shard.start)))


@cache
def truth(inputs: int, n: int) -> list[tuple[object, ...]]:
    """(prediction, radius, pilot counts, counts) of the first digits, by the library in this process."""
    graph = normalized(read_onnx((EXAMPLES / "digits.onnx").read_bytes()), [0.0], [1.0])
    found = []
    for x in DIGITS["x"][:inputs]:
        key = noise_key(
            bytes.fromhex(SECRET),
            model_digest=graph.digest,
            input_digest=input_digest(x),
            noise=gaussian(0.25).name,
            sigma=0.25,
        )
        p = certify(
            to_module(graph),
            torch.from_numpy(x),
            num_classes=10,
            noise=gaussian(0.25),
            alpha=0.001,
            n0=100,
            n=n,
            key=key,
            batch_size=250,
        )
        found.append((p.prediction, p.radius, list(p.pilot_counts), list(p.counts)))
    return found


def said(service: Service, certification: str) -> list[tuple[object, ...]]:
    """The same of a certification that has succeeded, whose samples one executor ran, whichever workers there were."""
    row = service.get(Certification, certification)
    assert (row.state, row.done) == ("succeeded", row.total), row.problem
    rows = results(service, certification)
    executions = [{key: r.detail[key] for key in ("executor", "batch_size") if key in r.detail} for r in rows]
    assert all(execution == row.summary.get("execution", {}) for execution in executions)
    return [(r.prediction, r.radius, r.detail["pilot_counts"], r.detail["counts"]) for r in rows]


def done(service: Service, certification: str) -> None:
    service.wait(Certification, certification, *TERMINAL)


def test_from_bytes_to_radii(service: Service) -> None:
    service.start()
    good, bound = (service.add_model((EXAMPLES / f"{n}.onnx").read_bytes()) for n in ("digits", "digits-lipschitz"))
    bad = service.add_model(b"not a model", labels=["a"])
    file = io.BytesIO()
    np.savez(file, x=DIGITS["x"][:7, 0], y=np.full(7, -1))
    data = service.add_dataset((EXAMPLES / "digits.npz").read_bytes())
    bad_data = service.add_dataset(file.getvalue())

    rejected = service.wait(Model, bad, "ready", "rejected")
    assert (rejected.state, rejected.problem["type"]) == ("rejected", "/problems/unsupported-model")
    rejected = service.wait(Dataset, bad_data, "ready", "rejected")
    assert rejected.problem["type"] == "/problems/invalid-dataset" and "-1" in rejected.problem["detail"]
    model = service.wait(Model, good, "ready", "rejected")
    assert model.state == "ready", model.problem
    assert model.summary["num_classes"] == 10
    assert model.summary["checked"]["max_relative_difference"] < 1e-5
    dataset = service.wait(Dataset, data, "ready", "rejected")
    x = np.load(service.blobs.path(dataset.summary["x_blob"]))
    assert x.dtype == np.float32 and np.array_equal(x, DIGITS["x"])
    assert np.array_equal(np.load(service.blobs.path(dataset.summary["y_blob"])), DIGITS["y"])
    service.wait(Model, bound, "ready")
    assert not list(service.blobs.drafts.iterdir())

    smooth = service.certify(good, data, 3, kind="smoothing", sigma=0.25, n=2500)
    margins = service.certify(bound, data, 450, kind="lipschitz")
    done(service, smooth)
    assert said(service, smooth) == truth(3, 2500)
    assert [r.label for r in results(service, smooth)] == DIGITS["y"][:3].tolist()

    done(service, margins)
    graph = normalized(read_onnx((EXAMPLES / "digits-lipschitz.onnx").read_bytes()), [0.0], [1.0])
    inputs = torch.from_numpy(DIGITS["x"]).double()
    logits = to_module(graph, dtype=torch.float64)(inputs)
    expected = margin_radius(logits, network_bound(graph), norms=inputs.flatten(1).norm(dim=1))
    found = results(service, margins)
    assert [(r.prediction, r.detail["runner_up"]) for r in found] == [(m.prediction, m.runner_up) for m in expected]
    # BLAS sums in an order of its own for each batch size
    assert [r.radius for r in found] == pytest.approx([m.radius for m in expected], rel=1e-9)
    for r in found:
        if r.radius is not None:
            assert 0 < r.radius <= r.detail["margin"] / r.detail["lipschitz"]
    for job, rows, number in ((smooth, results(service, smooth), 1), (margins, found, 9)):
        checked = service.get(Certification, job).summary["cross_check"]
        attacks = {r.index: (r.radius, r.detail["attack"]) for r in rows if "attack" in r.detail}
        assert (checked["drawn"], checked["contradicted"], checked["not_checked"]) == (number, 0, [])
        assert 0 < len(attacks) == checked["attacked"] <= number
        if job == margins:
            assert all(attack["distance"] > radius for radius, attack in attacks.values())

    # A bell that comes again, and one about nothing, do nothing.
    fences = [s.fence for s in shards(service, smooth)]
    for noun, row_id in (("shard", shards(service, smooth)[0].id), ("model", good), ("dataset", "dat_" + "0" * 32)):
        service.ring(noun, row_id)
    last = service.certify(good, data, 1, kind="smoothing", sigma=0.25, n=20)
    done(service, last)  # rung after the others, answered after them
    assert [s.fence for s in shards(service, smooth)] == fences
    assert service.get(Model, good).fence == 1


def test_decisions_on_8_bit_inputs_with_alpha_for_all_of_them(service: Service) -> None:
    service.start()
    model = service.add_model((EXAMPLES / "digits.onnx").read_bytes())
    pixels = (np.round(DIGITS["x"][:4] * 255) / 255).astype(np.float32)
    file = io.BytesIO()
    np.savez(file, x=pixels, y=DIGITS["y"][:4])
    data = service.add_dataset(file.getvalue())
    service.wait(Model, model, "ready")
    assert service.wait(Dataset, data, "ready").summary["grid"] == [0.0, 1.0]
    question = {"kind": "smoothing", "sigma": 0.25, "mode": "decide", "target_radius": 0.25, "family_wise": True}
    jobs = {
        "decide": service.certify(model, data, 4, shard_inputs=2, **question),
        "radius": service.certify(model, data, 4, kind="smoothing", sigma=0.25, n=2000, norm="linf"),
        "float": service.certify(model, data, 4, kind="smoothing", sigma=0.25, n=2000, grid="off"),
        "laplace": service.certify(model, data, 4, kind="smoothing", noise="laplace", sigma=0.25, n=2000),
        "uniform": service.certify(model, data, 4, kind="smoothing", noise="uniform", sigma=0.25, n=2000, grid="off"),
    }
    jobs["soft"] = service.certify(model, data, 2, kind="smoothing", scores="soft", sigma=0.25, n=2000)
    sources = {"float": gaussian(0.25), "laplace": GridLaplace(0.25), "uniform": Uniform(0.25)}
    graph = normalized(read_onnx((EXAMPLES / "digits.onnx").read_bytes()), [0.0], [1.0])
    for name, job in jobs.items():
        done(service, job)
        row = service.get(Certification, job)
        assert (row.state, row.done) == ("succeeded", row.total), row.problem
        if name == "soft":
            assert (row.summary["cross_check"]["drawn"], row.summary["cross_check"]["not_checked"]) == (1, [])
            scores = [r.detail["scores"] for r in results(service, job)]
            assert all(abs(sum(s["mean"]) - 1) < 1e-12 and (s["lipschitz"] or s["why_not"]) for s in scores)
            continue
        noise = sources.get(name, GridGaussian(0.25))
        target = {"target_radius": 0.25} if name == "decide" else {}
        for found, x in zip(results(service, job), pixels, strict=True):
            key = noise_key(
                bytes.fromhex(SECRET),
                model_digest=graph.digest,
                input_digest=input_digest(x),
                noise=noise.name,
                sigma=0.25,
            )
            p = certify(
                to_module(graph),
                torch.from_numpy(x),
                num_classes=10,
                noise=noise,
                alpha=0.001 / 4 if name == "decide" else 0.001,
                n0=100,
                n=100_000 if name == "decide" else 2000,
                key=key,
                **target,
            )
            detail = found.detail
            assert (detail["noise"], detail["counts"], detail["n"]) == (noise.name, list(p.counts), p.n)
            assert (detail["decision"], detail["sides"]) == (p.decision, p.sides)
            if name == "radius":
                assert found.radius is None or p.radius / 8 - 1e-9 < found.radius <= p.radius / 8
            else:
                assert found.radius == p.radius
    assert all(found.radius for found in results(service, jobs["laplace"]))
    decisions = [r.detail for r in results(service, jobs["decide"])]
    assert any(d["decision"] == "certified" and d["n"] < 1000 for d in decisions)
    counted = {answer: sum(d["decision"] == answer for d in decisions) for answer in DECISIONS}
    assert service.get(Certification, jobs["decide"]).summary["decisions"] == counted


def test_votes_behind_a_denoiser_are_those_of_both_networks_together(service: Service) -> None:
    blur = {"w": np.full((1, 1, 3, 3), 1 / 9, np.float32)}
    file = model([node("Conv", ["x", "w"], pads=[1, 1, 1, 1])], (1, 8, 8), blur)
    service.start()
    sharp = service.add_model((EXAMPLES / "digits.onnx").read_bytes())
    front = service.add_model(file, task="denoiser", input=factories.INPUT | {"mean": [0.1], "std": [0.5]})
    wrong = service.add_model((EXAMPLES / "digits.onnx").read_bytes(), task="denoiser")
    data = service.add_dataset((EXAMPLES / "digits.npz").read_bytes())
    for row_id in (sharp, front):
        assert service.wait(Model, row_id, "ready", "rejected").state == "ready"
    assert "has not the input's" in str(service.wait(Model, wrong, "ready", "rejected").problem)
    service.wait(Dataset, data, "ready")
    assert service.get(Model, front).summary["checked"]["max_relative_difference"] < 1e-5
    jobs = [
        service.certify(sharp, data, 2, denoiser=one, kind="smoothing", sigma=0.25, n=2500) for one in (front, None)
    ]
    for job in jobs:
        done(service, job)
    both = composed(
        normalized(read_onnx(file, task="denoiser"), [0.1], [0.5]),
        normalized(read_onnx((EXAMPLES / "digits.onnx").read_bytes()), [0.0], [1.0]),
    )
    expected = []
    for x in DIGITS["x"][:2]:
        noise = gaussian(0.25)
        key = noise_key(
            bytes.fromhex(SECRET), model_digest=both.digest, input_digest=input_digest(x), noise=noise.name, sigma=0.25
        )
        ask = {"num_classes": 10, "noise": noise, "alpha": 0.001, "n0": 100, "n": 2500, "key": key, "batch_size": 250}
        p = certify(to_module(both), torch.from_numpy(x), **ask)
        expected.append((p.prediction, p.radius, list(p.pilot_counts), list(p.counts)))
    assert said(service, jobs[0]) == expected
    assert said(service, jobs[1]) == truth(2, 2500)
    networks = service.get(Certification, jobs[0]).summary["networks"]
    assert networks == {
        "classifier": service.get(Model, sharp).summary["digest"],
        "denoiser": service.get(Model, front).summary["digest"],
    }


def test_kill_9_of_a_worker_and_the_loss_of_all_messages_change_no_count(
    service: Service, digits: tuple[str, str]
) -> None:
    job = service.certify(*digits, 2, **LONG)
    worker = service.start()
    service.halfway(job)
    assert service.child(RUNNER)
    os.kill(worker.pid, signal.SIGKILL)
    wait_for(lambda: not service.family())  # the pool process and the runner die with it
    worker.wait()
    service.broker.flushall()
    before = service.get(Certification, job).done

    service.start()
    done(service, job)
    assert said(service, job) == truth(2, LONG["n"])
    assert before > 0


def test_kill_9_of_a_worker_that_went_on_after_known_votes_counts_none_twice(
    service: Service, digits: tuple[str, str]
) -> None:
    worker = service.start()
    done(service, service.certify(*digits, 2, kind="smoothing", sigma=0.25, n=2500))
    job = service.certify(*digits, 2, **LONG)
    reused = 2 * (100 + 2000)
    wait_for(lambda: service.get(Certification, job).done > reused)
    os.kill(worker.pid, signal.SIGKILL)
    wait_for(lambda: not service.family())
    worker.wait()
    row = service.get(Certification, job)
    assert row.state == "running" and row.done < row.total
    service.start()
    done(service, job)
    assert said(service, job) == truth(2, LONG["n"])
    assert [r.detail["reused"] for r in results(service, job)] == [2100, 2100]


def test_kill_9_of_a_runner_costs_an_attempt_and_no_count(service: Service, digits: tuple[str, str]) -> None:
    service.start()
    job = service.certify(*digits, 2, **LONG)
    service.halfway(job)
    runner = service.child(RUNNER)
    assert runner is not None
    runner.kill()
    done(service, job)
    assert said(service, job) == truth(2, LONG["n"])
    assert max(shard.fence for shard in shards(service, job)) >= 2


def test_a_bound_that_several_runners_prove_is_reported_once(service: Service, digits: tuple[str, str]) -> None:
    worker = service.start()
    job = service.certify(*digits, 40, shard_inputs=1, kind="lipschitz")
    service.halfway(job)
    os.kill(worker.pid, signal.SIGKILL)
    wait_for(lambda: not service.family())
    worker.wait()
    [first] = reports(service, job)
    service.start()
    done(service, job)
    row = service.get(Certification, job)
    assert (row.state, row.done) == ("succeeded", 40), row.problem
    assert reports(service, job) == [first]

    bound = network_bound(EXAMPLES / "digits.onnx")
    assert nearly(timeless(first), timeless(json.loads(json.dumps(bound.to_json()))))
    for result in results(service, job):  # whichever runner proved it
        constant = bound.pairs(result.prediction)[result.detail["runner_up"]]
        assert result.detail["lipschitz"] == pytest.approx(constant, rel=1e-9)
        assert result.radius is None or result.radius <= result.detail["margin"] / result.detail["lipschitz"]
    assert row.summary["bound"] == {key: first[key] for key in ("upper", "norm", "rule", "vacuous")}


def kill_all(service: Service, module: str, table: type, row_id: str) -> None:
    """Kill whatever runs ``module`` until the row has ended."""

    def ended() -> bool:
        if child := service.child(module):
            child.send_signal(signal.SIGABRT)  # as native code that ends itself
        return service.get(table, row_id).state in TERMINAL

    wait_for(ended)


def test_what_kills_its_process_every_time_is_given_up(service: Service, digits: tuple[str, str]) -> None:
    service.start()
    job = service.certify(*digits, 1, **LONG)
    kill_all(service, RUNNER, Certification, job)
    row = service.get(Certification, job)
    assert (row.state, row.problem["type"]) == ("failed", "/problems/worker-lost")
    assert [s.fence for s in shards(service, job)] == [service.settings.max_attempts + 1]

    model = service.add_model((EXAMPLES / "digits-lipschitz.onnx").read_bytes())
    kill_all(service, READER, Model, model)
    assert service.get(Model, model).problem["type"] == "/problems/worker-lost"


def test_cancelling_ends_the_runner_and_the_worker_goes_on(service: Service, digits: tuple[str, str]) -> None:
    service.start()
    job = service.certify(*digits, 3, **LONG)
    service.halfway(job)
    runner = service.child(RUNNER)
    with service.database.write() as session:
        certifications.cancel(session, certifications.get(session, job, lock=True))
    assert runner is not None
    wait_for(lambda: not runner.is_running() or runner.status() == psutil.STATUS_ZOMBIE)
    following = service.certify(*digits, 1, kind="smoothing", sigma=0.25, n=2500)
    done(service, following)
    assert said(service, following) == truth(3, 2500)[:1]
    assert service.get(Certification, job).state == "cancelled"
    assert {str(s.state) for s in shards(service, job)} <= {"cancelled", "succeeded"}


@pytest.mark.parametrize(
    ("sig", "group"),
    [(signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGINT, True)],
    ids=["one process", "systemd", "Ctrl-C in a terminal"],
)
def test_a_shutdown_gives_the_shard_back_at_once(
    service: Service, digits: tuple[str, str], sig: signal.Signals, group: bool
) -> None:
    worker = service.start()
    job = service.certify(*digits, 2, **LONG)
    service.halfway(job)
    assert len(service.family()) >= 3
    (os.killpg if group else os.kill)(worker.pid, sig)
    worker.wait(timeout=20)
    left = [shard for shard in shards(service, job) if shard.state != "succeeded"]
    assert left
    assert all((shard.lease_expires_at, shard.attempts) == (None, 0) for shard in left)
    wait_for(lambda: not service.family())


def test_a_question_asked_again_is_answered_from_what_was_counted(service: Service, digits: tuple[str, str]) -> None:
    service.start()
    found = {}
    for name, n, sigma in (("first", 2500, 0.25), ("again", 2500, 0.25), ("more", 5000, 0.25), ("other", 1000, 0.5)):
        job = service.certify(*digits, 2, kind="smoothing", sigma=sigma, n=n)
        done(service, job)
        found[name] = (job, [r.detail for r in results(service, job)])
    reused = {name: [detail["reused"] for detail in details] for name, (_, details) in found.items()}
    assert reused == {"first": [0, 0], "again": [2600, 2600], "more": [2100, 2100], "other": [0, 0]}
    assert said(service, found["first"][0]) == said(service, found["again"][0]) == truth(2, 2500)
    assert said(service, found["more"][0]) == truth(2, 5000)
    soft = []
    for _ in range(2):
        job = service.certify(*digits, 2, kind="smoothing", scores="soft", sigma=0.25, n=2500)
        done(service, job)
        soft.append([r.detail for r in results(service, job)])
    assert [[detail.pop("reused") for detail in details] for details in soft] == [[0, 0], [2600, 2600]]
    assert [[d["scores"], d["p_lower"]] for d in soft[0]] == [[d["scores"], d["p_lower"]] for d in soft[1]]
    was = {"noise": "gaussian", "sigma": 0.25, "grid": None}
    assert [detail["other_noises"] for detail in found["other"][1]] == [[was], [was]]
    summary = service.get(Certification, found["other"][0]).summary
    assert summary["other_noises"] == {"inputs": 2, "noises": [was]}
