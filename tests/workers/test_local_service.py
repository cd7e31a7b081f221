"""Real workers near inputs: their radii stand, and are answered again."""

from typing import Any

import numpy as np
import onnxruntime
import pytest

from models.states import TERMINAL
from models.tables import Certification, Result
from tests.workers.answers import DIGITS, reports, results, shards
from tests.workers.harness import EXAMPLES, Service

COUNT = 5


def answered(service: Service, job: str) -> list[Result]:
    """The results of a certification, which must succeed."""
    row = service.wait(Certification, job, *TERMINAL)
    assert (row.state, row.done) == ("succeeded", COUNT), row.problem
    return results(service, job)


def test_radii_stand_and_are_larger_than_lipschitz_ones(service: Service, digits: tuple[str, str]) -> None:
    service.start()
    asked: dict[str, Any] = {"kind": "local", "norm": "linf", "effort": "quick"}
    job = service.certify(*digits, COUNT, shard_inputs=2, **asked, cross_check=2)
    plain = service.certify(*digits, COUNT, kind="lipschitz", norm="linf")
    found, bounded = answered(service, job), answered(service, plain)
    assert len(shards(service, job)) > 1
    draw, session = np.random.default_rng(0), onnxruntime.InferenceSession(EXAMPLES / "digits.onnx")
    for r, lipschitz in zip(found, bounded, strict=True):
        assert r.radius is not None and lipschitz.radius is not None
        assert r.detail["lipschitz_radius"] == pytest.approx(lipschitz.radius, rel=1e-9)
        assert r.radius == r.detail["local_radius"] > 2 * lipschitz.radius and r.detail["rule"] == "local"
        assert r.radius < r.detail["nearest_attack"]
        corners = DIGITS["x"][r.index] + np.float32(r.radius) * draw.choice([-1, 1], (500, 1, 8, 8))
        [logits] = session.run(None, {session.get_inputs()[0].name: corners.astype(np.float32)})
        assert set(logits.argmax(1)) == {r.prediction}

    summary = service.get(Certification, job).summary
    [report] = reports(service, job)
    [whole] = reports(service, plain)
    assert report == {"lipschitz": whole["upper"], "rule": whole["rule"], "unbounded": [], "valid_range": None}
    assert summary["local"] == {"lipschitz": whole["upper"], "valid_range": None}
    assert summary["median_radius"] == np.median([r.radius for r in found])
    assert (summary["cross_check"]["attacked"], summary["cross_check"]["contradicted"]) == (2, 0)

    again = answered(service, service.certify(*digits, COUNT, **asked, cross_check=0))
    assert [(r.radius, r.detail["answered_by"]) for r in again] == [(r.radius, job) for r in found]

    boxed = service.certify(*digits, COUNT, **asked, box=True)  # another claim, and so another question
    inside = answered(service, boxed)
    for b, r in zip(inside, found, strict=True):
        assert b.radius is not None and r.radius is not None and b.radius > r.radius
        assert "answered_by" not in b.detail
    assert service.get(Certification, boxed).summary["local"]["valid_range"] == [0.0, 1.0]

    radii = [r.radius or 0.0 for r in found]
    target = float(np.median(radii))
    decided = service.certify(*digits, COUNT, **asked, target_radius=target)
    decisions = [r.detail["decision"] for r in answered(service, decided)]
    assert decisions == ["certified" if radius >= target else "not certified" for radius in radii]
    summary = service.get(Certification, decided).summary
    certified = decisions.count("certified")
    assert summary["decisions"] == {"certified": certified, "not certified": COUNT - certified, "undecided": 0}
    assert summary["at_target"]["radius"] == target
