"""`radii verify-instance` needs no service, and prints what VNN-COMP reads."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import DIGITS
from tests.graph.build import onnxruntime_on_rows
from tests.local.test_instance import written

MODEL = DIGITS / "digits.onnx"


def verified(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "radii.cli", "verify-instance", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(("reach", "status"), [(0.01, "unsat"), (0.5, "sat")])
def test_an_image_of_a_digit(tmp_path: Path, reach: float, status: str) -> None:
    x = np.load(DIGITS / "digits.npz")["x"][0]
    label = int(onnxruntime_on_rows(MODEL.read_bytes(), x[None])[0].argmax())
    instance = tmp_path / "digit.vnnlib"
    instance.write_bytes(written(x.reshape(-1).astype(np.float64), reach, label, 10))
    answer = verified(MODEL, instance)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.splitlines()[0] == status
    if status == "sat":
        values = dict(re.findall(r"\(([XY]_\d+) (\S+?)\)", answer.stdout))
        found = np.array([values[f"X_{i}"] for i in range(64)], np.float32)
        outputs = onnxruntime_on_rows(MODEL.read_bytes(), found.reshape(1, 1, 8, 8))[0]
        assert np.abs(found - x.reshape(-1)).max() <= reach * (1 + 1e-6) and outputs.argmax() != label
        assert np.allclose(outputs, [float(values[f"Y_{j}"]) for j in range(10)], rtol=1e-5, atol=1e-5)


def test_what_can_not_be_read_is_said_with_its_line(tmp_path: Path) -> None:
    instance = tmp_path / "wrong.vnnlib"
    instance.write_text("(declare-const X_0 Real)\n(assert (< X_0 1))\n")
    answer = verified(MODEL, instance)
    assert answer.returncode == 2 and "wrong.vnnlib, line 2: < is not read" in " ".join(answer.stderr.split())
    instance.write_bytes(written(np.zeros(3), 0.1, 0, 10))
    answer = verified(MODEL, instance)
    assert answer.returncode == 2 and "the network has 64 and 10" in " ".join(answer.stderr.split())
