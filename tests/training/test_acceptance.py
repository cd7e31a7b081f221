"""The shared values hold, and the command says where others do not."""

import json
from pathlib import Path

import pytest

from tests.acceptance import load
from tests.training.acceptance import NAMES, check, main, off

CHECKED = [name for name in NAMES if check(name) is not None]


@pytest.mark.parametrize("name", CHECKED)
def test_all_values_hold(name: str) -> None:
    differences = check(name)
    assert differences is not None
    values = load(f"training/{name}")
    assert sum(1 for _ in differences(values)) > 10
    assert off(differences(values)) == []


def test_a_value_that_is_off_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = load("training/frequency")
    values["linear"]["band_norms"][2] *= 1 + 1e-11
    (tmp_path / "frequency.json").write_text(json.dumps(values))
    assert main(tmp_path) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("frequency")]
    assert len(lines) == 1 and lines[0].startswith("frequency: linear band 2: 4.908")
