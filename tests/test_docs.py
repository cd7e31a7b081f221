"""Pages that make promises about commands, code and fields, held against them."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from models.states import TERMINAL
from radii.lipschitz import LayerBound
from radii.methods.lipschitz.report import Report
from tests.service import clean_environment, running

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


EXPORT = """
import torch
network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
torch.onnx.export(network.eval(), (torch.zeros(1, 1, 8, 8),), "mine.onnx", dynamic_shapes=({0: "batch"},))
"""


def test_the_session_with_curl_on_the_front_page_runs_as_it_stands(tmp_path: Path) -> None:
    """As one script, with fewer samples, against a service in ~/.radii; `mine.onnx` is what torch's exporter writes by
    default."""
    page = (ROOT / "README.md").read_text()
    session, beside = [block for block in re.findall(r"```\n(.*?)```", page, flags=re.DOTALL) if "curl" in block]
    for name in ("digits.onnx", "digits.npz"):
        (tmp_path / "examples" / "digits").mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "examples" / "digits" / name, tmp_path / "examples" / "digits")
    export = [sys.executable, "-W", "ignore", "-c", EXPORT]
    subprocess.run(export, cwd=tmp_path / "examples" / "digits", check=True, capture_output=True, timeout=120)
    assert (tmp_path / "examples" / "digits" / "mine.onnx.data").is_file()
    script = re.sub(r"^(curl [^#\n]*).*$", r"\1; echo; echo ---", session + beside, flags=re.MULTILINE)
    script = script.replace('"n": 10000', '"n": 200')
    with running(tmp_path / ".radii") as service:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script.replace("http://127.0.0.1:8000", service.url)],
            cwd=tmp_path,
            env={**clean_environment(), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert (done.returncode, done.stderr) == (0, "")
    model, dataset, job, results, curve, at_radius, mine = (part.strip() for part in done.stdout.split("---\n")[:-1])
    assert [json.loads(one)["state"] for one in (model, dataset, job, mine)] == ["ready", "ready", "succeeded", "ready"]
    assert all(json.loads(one)["ended"] for one in (model, dataset, job, mine))
    assert len(results.splitlines()) == json.loads(curve)["inputs"] == 50
    assert json.loads(at_radius)["at"]["radius"] == 0.25
    assert {state for state in TERMINAL if f'"{state}"' not in session} == set()  # it names all of them
