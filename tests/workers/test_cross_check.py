import base64

import numpy as np
import pytest

from radii.attacks import Attack, NotAttackable
from workers.runner.attacks import attacked

X = np.zeros((1, 2), np.float32)


def test_the_evidence_of_a_contradiction_is_kept() -> None:
    adversarial = np.array([[0.5, -1.0]])
    detail = attacked(X, lambda: Attack(0.25, 3, True, adversarial))
    evidence = detail.pop("adversarial")
    kept = np.frombuffer(base64.b64decode(evidence["base64"]), evidence["dtype"]).reshape(evidence["shape"])
    assert np.array_equal(kept, adversarial)
    assert detail.pop("input") == attacked(X.copy(), lambda: Attack(None, None, False, None))["input"]
    assert detail == {"distance": 0.25, "prediction": 3, "contradicted": True}


def test_an_attack_that_fails_fails_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    def flat() -> Attack:
        raise NotAttackable("it is flat")

    assert attacked(X, flat) == {"not_checked": "it is flat"}

    def broken() -> Attack:
        raise ZeroDivisionError

    assert "the attack failed" in attacked(X, broken)["not_checked"]
    assert "ZeroDivisionError" in caplog.text
