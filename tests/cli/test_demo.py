"""The demo, in a folder of its own."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.cli.conftest import DIGITS
from tests.service import PATIENCE, clean_environment, command_line, left, until


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """The demo's script, copied with its data: what it makes, it makes there."""
    shutil.copytree(DIGITS, tmp_path / "examples" / "digits")
    return Path(shutil.copy(DIGITS.parent / "demo.py", tmp_path / "examples" / "demo.py"))


def test_it_shows_and_keeps_what_it_found(demo: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(demo)], env=clean_environment(), capture_output=True, text=True, timeout=PATIENCE * 3
    )
    assert done.returncode == 0, done.stderr
    for name in ("smoothing", "lipschitz"):
        lines = (tmp_path / "radii-demo" / f"results-{name}.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        assert [row["index"] for row in rows] == list(range(50))
        # The networks are trained for it: most of these inputs certify at a radius one can see.
        assert sum((row["radius"] or 0) > 0.1 for row in rows) >= 40
        assert re.search(rf"^ *method +{name}\b", done.stdout, re.MULTILINE)
    assert done.stdout.count("median radius") == 2
    assert "certified accuracy\n 100% ┤" in done.stdout


def test_ctrl_c_leaves_no_process(demo: Path) -> None:
    command = [sys.executable, str(demo)]
    with subprocess.Popen(command, env=clean_environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        leader = psutil.Process(process.pid)
        family = until(
            lambda: leader.children(recursive=True),
            lambda children: any("workers.main" in command_line(child) for child in children),
        )
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert left(family) == []
