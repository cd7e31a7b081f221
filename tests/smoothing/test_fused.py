"""The kernels: on a GPU where there is one; interpreted, and compiled for GPUs, wherever there is Triton.

Triton is for these alone, in processes of their own: `make test` puts it in .venv/triton.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
TRITON = HERE.parents[1] / ".venv" / "triton"


def run(name: str, tmp_path: Path, **environment: str) -> None:
    keep = {key: value for key, value in os.environ.items() if key not in ("PYTEST_ADDOPTS", "TRITON_INTERPRET")}
    plain = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command = [sys.executable, "-m", "pytest", *plain, str(HERE / "triton" / name)]
    environment |= {"TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(command, env=keep | environment, capture_output=True, text=True, cwd=HERE.parents[1])
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


@pytest.fixture
def triton() -> str:
    if sys.platform != "linux":
        pytest.skip("there is no Triton but for Linux")
    assert (TRITON / "triton").is_dir(), f"there is no Triton in {TRITON}: make test installs it"
    return str(TRITON)


def test_interpreted(tmp_path: Path, triton: str) -> None:
    run("drawing.py", tmp_path, PYTHONPATH=triton, TRITON_INTERPRET="1", RADII_TEST_DEVICE="cpu")


def test_compiled(tmp_path: Path, triton: str) -> None:
    run("compiling.py", tmp_path, PYTHONPATH=triton)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu(tmp_path: Path) -> None:
    run("drawing.py", tmp_path, RADII_TEST_DEVICE="cuda")
