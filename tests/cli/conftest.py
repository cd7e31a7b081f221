import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.service import Service

DIGITS = Path(__file__).parents[2] / "examples" / "digits"

Radii = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def radii(service: Service, tmp_path: Path) -> Radii:
    """Runs the command `radii` in a folder of its own, against the session's service."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "radii.cli", *arguments],
            cwd=tmp_path,
            env={**service.environment(), "COLUMNS": "200", **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run
