import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.service import Service

DIGITS = Path(__file__).parents[2] / "examples" / "digits"

Radii = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the command runs."""
    return tmp_path_factory.mktemp("folder")


@pytest.fixture(scope="module")
def radii(service: Service, folder: Path) -> Radii:
    """Runs the command `radii` in ``folder``, against the session's service."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "radii.cli", *arguments],
            cwd=folder,
            env={**service.environment(), "COLUMNS": "200", **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run
