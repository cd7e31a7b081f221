import subprocess
import sys

import pytest

from models.settings import CLIENT, LINKS, Settings
from radii.cli import variables
from tests.service import clean_environment

COMMANDS = [("models",), ("certify", "a.onnx", "b.npz", "--sigma", "1"), ("inspect", "a.onnx"), ("up",)]


def radii(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "radii.cli", *arguments],
        env={**clean_environment(), "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_command_knows_what_the_service_knows() -> None:
    """The command may be installed without the service, which can't import it either."""
    assert list(variables.SERVICE) == [f"RADII_{name.upper()}" for name in Settings.model_fields]
    assert list(variables.CLIENT) == list(CLIENT)
    assert variables.LINKS == LINKS


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_misspelt_variable_is_refused_by_every_command(command: tuple[str, ...]) -> None:
    done = radii(*command, RADII_ULR="http://127.0.0.1:9")
    assert done.returncode == 2
    assert "RADII_ULR is no variable of radii: did you mean RADII_URL? docs/settings.md lists them" in done.stderr
    assert done.stdout == ""


def test_others_are_left_alone() -> None:
    known = {"RADII_TEST_X": "1", "RADII_WORKERS": "2", "RADII_API_PORT": "tcp://10.0.0.1:80", "RADII_PATIENCE": "1"}
    done = radii("models", RADII_URL="http://127.0.0.1:9", **known)
    assert "http://127.0.0.1:9 does not answer" in done.stderr


def test_help_and_version_name_them_and_need_none() -> None:
    shown = radii("--help").stdout
    assert all(name in shown for name in variables.CLIENT)
    assert radii("--version", RADII_ULR="x").returncode == 0
    assert radii("--help", RADII_ULR="x").returncode == 0
