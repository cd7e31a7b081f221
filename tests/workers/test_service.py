"""Real workers on real brokers: what comes out is what the library computes."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from sqlalchemy import select

from models.tables import Certification, Dataset, Ledger, Model
from models.totals import DECISIONS
from radii.graph import composed, normalized, read_onnx, to_module
from radii.lipschitz import margin_radius, network_bound
from radii.smoothing import certify, gaussian, grid_of, input_digest, noise_key, noise_of
from radii.smoothing.sequential import TEST
from tests import factories
from tests.graph.build import model, node
from tests.workers.answers import DIGITS, done, results, said, shards, truth
from tests.workers.harness import EXAMPLES, SECRET, Service, on_both_brokers

pytestmark = on_both_brokers


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
    question: dict[str, Any] = {
        "kind": "smoothing",
        "sigma": 0.25,
        "mode": "decide",
        "target_radius": 0.25,
        "family_wise": True,
    }
    jobs = {
        "decide": service.certify(model, data, 4, shard_inputs=2, **question),
        "radius": service.certify(model, data, 4, kind="smoothing", sigma=0.25, n=2000, norm="linf"),
        "float": service.certify(model, data, 4, kind="smoothing", sigma=0.25, n=2000, grid="off"),
        "laplace": service.certify(model, data, 4, kind="smoothing", noise="laplace", sigma=0.25, n=2000),
        "uniform": service.certify(model, data, 4, kind="smoothing", noise="uniform", sigma=0.25, n=2000, grid="off"),
    }
    jobs["soft"] = service.certify(model, data, 2, kind="smoothing", scores="soft", sigma=0.25, n=2000)
    sources = {"float": gaussian(0.25), "laplace": grid_of("laplace", 0.25), "uniform": noise_of("uniform", 0.25)}
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
        noise = sources.get(name, grid_of("gaussian", 0.25))
        target: dict[str, Any] = {"target_radius": 0.25} if name == "decide" else {}
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
                assert found.radius is None or (p.radius and p.radius / 8 - 1e-9 < found.radius <= p.radius / 8)
            else:
                assert found.radius == p.radius
    assert all(found.radius for found in results(service, jobs["laplace"]))
    decisions = [r.detail for r in results(service, jobs["decide"])]
    assert any(d["decision"] == "certified" and d["n"] < 1000 for d in decisions)
    counted = {answer: sum(d["decision"] == answer for d in decisions) for answer in DECISIONS}
    assert service.get(Certification, jobs["decide"]).summary["decisions"] == counted

    again = service.certify(model, data, 4, shard_inputs=2, **question)  # costs nothing
    done(service, again)
    row = service.get(Certification, again)
    assert (row.state, row.done, row.execution) == ("succeeded", row.total, None), row.problem
    said = [(r.prediction, r.radius, r.abstained, r.detail) for r in results(service, again)]
    for (*answer, detail), first in zip(said, results(service, jobs["decide"]), strict=True):
        assert answer == [first.prediction, first.radius, first.abstained]
        assert detail["reused"] == 100 + detail["n"]
        changed = {"reused", "seconds", "executor", "batch_size", "device", "other_noises", "attack", "answered_by"}
        kept = {key: value for key, value in first.detail.items() if key not in changed}
        assert kept == {key: value for key, value in detail.items() if key not in changed}
    with service.database.read() as session:  # what another test decided would not be taken for its answer
        stages = session.scalars(select(Ledger.stage).where(Ledger.stage.startswith("estimate {"))).all()
    assert sum('"target_radius":0.25' in stage and f'"test":"{TEST}"' in stage for stage in stages) == 4
    other = service.certify(model, data, 4, shard_inputs=2, **question | {"target_radius": 0.2})
    done(service, other)
    assert [r.detail["reused"] for r in results(service, other)] == [100] * 4


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
        ask: dict[str, Any] = {
            "num_classes": 10,
            "noise": noise,
            "alpha": 0.001,
            "n0": 100,
            "n": 2500,
            "key": key,
            "batch_size": 250,
        }
        p = certify(to_module(both), torch.from_numpy(x), **ask)
        expected.append((p.prediction, p.radius, list(p.pilot_counts), list(p.counts)))
    assert said(service, jobs[0]) == expected
    assert said(service, jobs[1]) == truth(2, 2500)
    networks = service.get(Certification, jobs[0]).summary["networks"]
    assert networks == {
        "classifier": service.get(Model, sharp).summary["digest"],
        "denoiser": service.get(Model, front).summary["digest"],
    }


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
