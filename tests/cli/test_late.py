"""What is loaded late, and that commands on networks do without torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.graph.build import model, node

EXAMPLES = Path(__file__).parents[2] / "examples" / "digits"
TRACE = """
import sys
from radii.cli import main
LOADED = {"torch._C", "onnxruntime", "scipy.special", "httpx._api"}
try:
    main()
finally:
    print("loaded:", *sorted(LOADED & set(sys.modules)), file=sys.stderr)
"""


def loaded(*arguments: str) -> set[str]:
    """What the command `radii` has loaded when it ends."""
    done = subprocess.run([sys.executable, "-c", TRACE, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("name", ["digits", "digits-lipschitz"])
def test_a_network_is_read_and_bounded_without_torch(name: str) -> None:
    assert not loaded("inspect", str(EXAMPLES / f"{name}.onnx"))
    assert not loaded("lipschitz", str(EXAMPLES / f"{name}.onnx"))


def test_what_needs_torch_has_it(tmp_path: Path) -> None:
    """A constant that an operator computes is computed by that operator."""
    nodes = [node("Softplus", ["w"], "s"), node("Gemm", ["x", "s"])]
    (tmp_path / "folded.onnx").write_bytes(model(nodes, (6,), {"w": np.ones((6, 3), np.float32)}))
    assert "torch._C" in loaded("inspect", str(tmp_path / "folded.onnx"))


PROGRAM = """
import sys
from radii.cli.late import import_late
import_late("{package}")
import_late("no_such_package")
assert "no_such_package" not in sys.modules
import {package}
before = len([name for name in sys.modules if name.startswith("{package}.")])
import {package} as again
assert again is {package} and before == len([name for name in sys.modules if name.startswith("{package}.")]) < 3
{use}
import_late("{package}")
import {package}
assert type({package}) is type(sys)
print(len([name for name in sys.modules if name.startswith("{package}.")]))
"""


@pytest.mark.parametrize(
    ("package", "use"),
    [
        ("torch", "from torch import Tensor; assert isinstance(torch.ones(1), Tensor)"),
        ("torch", "import torch.nn.functional; assert torch.nn.functional.relu(torch.ones(1)) == 1"),
        ("torch", "from torch.nn import functional; assert functional.relu(torch.ones(1)) == 1"),
        ("email", "from email.message import Message; Message()"),
    ],
)
def test_a_late_package_is_the_package(package: str, use: str) -> None:
    program = PROGRAM.format(package=package, use=use)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 2
