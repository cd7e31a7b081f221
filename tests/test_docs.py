"""Pages that make promises about commands, code and fields, held against them."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from app.reports import Report
from radii.lipschitz import LayerBound

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "lipschitz.md").read_text()


def test_the_page_on_bounds_names_every_field_of_a_report() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE))
    assert {field.name for field in fields(LayerBound)} <= named
    assert set(Report.model_fields) - {"certification_id", "model_id"} <= named


def test_the_commands_and_the_code_on_it_run() -> None:
    commands = re.findall(r"^radii (lipschitz [^#\n]+)", PAGE, flags=re.MULTILINE)
    programs = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(commands) == 2 and len(programs) == 1
    for arguments in [["-m", "radii.cli", *command.split()] for command in commands] + [["-c", programs[0]]]:
        done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout
