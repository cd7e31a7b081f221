"""onnxruntime keeps no book of its use, and nothing of ours speaks to the network.

Shown in processes with an empty home, which the kernel kills when they, or what they start, open an internet socket.
"""

import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.settings import Settings
from tests import factories
from tests.workers.harness import EXAMPLES
from workers.intake.sandbox import Sandbox

DIGITS = EXAMPLES / "digits.onnx"
BOOK = "onnxruntime.db"
# <linux/audit.h> and the number of socket(2), by machine
SYSTEM_CALLS = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}

CUT_OFF = """
import ctypes, struct
def instruction(code, jump_true, jump_false, value):
    return struct.pack("HBBI", code, jump_true, jump_false, value)
LOAD, EQUAL, RETURN, ALLOW, KILL = 0x20, 0x15, 0x06, 0x7FFF0000, 0x80000000
program = b"".join([
    instruction(LOAD, 0, 0, 4),
    instruction(EQUAL, 0, 5, {architecture}),
    instruction(LOAD, 0, 0, 0),
    instruction(EQUAL, 0, 3, {socket}),
    instruction(LOAD, 0, 0, 16),
    instruction(EQUAL, 2, 0, 2),  # AF_INET
    instruction(EQUAL, 1, 0, 10),  # AF_INET6
    instruction(RETURN, 0, 0, ALLOW),
    instruction(RETURN, 0, 0, KILL),
])
code = ctypes.create_string_buffer(program)
filter = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, filter) == 0, ctypes.get_errno()  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
"""

WAYS = {
    "the library runs a network": """
import torch
from radii.graph import read_onnx
from radii.execution.executors import ONNXRUNTIME, build
run = build(ONNXRUNTIME, read_onnx(open(FILE, "rb").read()), torch.device("cpu"))
assert run(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
""",
    "intake compares a model": """
import sys, time
from pathlib import Path
from models.settings import Settings
from workers.intake.sandbox import Sandbox
folder = Path.cwd() / "sandbox"
folder.mkdir()
order = {"noun": "model", "file": FILE, "external_data": {}}
order["settings"] = {"input": INPUT, "output": None, "labels": None}
sandbox = Sandbox(folder, order, Settings(data_dir=folder))
sandbox.inbox.get(timeout=60)
assert "onnxruntime" in sandbox.answer(late=False)["summary"]["checked"]["against"]
""",
    "the command reads a network": """
import subprocess, sys
for command in ("inspect", "lipschitz"):
    subprocess.run([sys.executable, "-m", "radii.cli", command, FILE], check=True, stdout=subprocess.DEVNULL)
""",
}


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A program in an empty folder that is its home, without what tests have said of telemetry, and without CI, where
    onnxruntime keeps no book."""
    folder.mkdir()
    architecture, socket = SYSTEM_CALLS[platform.machine()]
    given = f"FILE, INPUT = {str(DIGITS)!r}, {factories.INPUT!r}\n"
    environment = {key: value for key, value in os.environ.items() if key not in ("ORT_DISABLE_TELEMETRY", "CI")}
    root = str(Path(__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", CUT_OFF.format(architecture=architecture, socket=socket) + given + program],
        cwd=folder,
        env={**environment, "HOME": str(folder), "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=120,
    )


def books(folder: Path) -> list[Path]:
    return list(folder.rglob("*onnxruntime*"))


linux = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in SYSTEM_CALLS, reason="seccomp is asked, which is Linux's"
)


@linux
@pytest.mark.parametrize("way", WAYS)
def test_no_way_to_onnxruntime_leaves_a_trace(way: str, tmp_path: Path) -> None:
    done = run(WAYS[way], tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert not books(tmp_path)


@linux
def test_what_is_looked_for_would_be_seen(tmp_path: Path) -> None:
    """onnxruntime's own import keeps a book; a process that opens a socket is killed, and so is what it starts."""
    done = run("import onnxruntime", tmp_path / "book")
    assert done.returncode == 0, done.stderr
    assert books(tmp_path)
    opening = "import socket; socket.socket(socket.{}, socket.SOCK_DGRAM)"
    for family in ("AF_INET", "AF_INET6"):
        assert run(opening.format(family), tmp_path / family).returncode == -signal.SIGSYS
    started = (
        f"import subprocess, sys; sys.exit(-subprocess.call([sys.executable, '-c', {opening.format('AF_INET')!r}]))"
    )
    assert run(started, tmp_path / "started").returncode == signal.SIGSYS
    assert run(opening.format("AF_UNIX"), tmp_path / "unix").returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is asked")
def test_an_intake_opens_no_book(tmp_path: Path) -> None:
    """Its environment has no HOME: the book would lie in its user's, where others may write too."""
    (tmp_path / "s").mkdir()
    order = {"noun": "model", "file": str(DIGITS), "external_data": {}}
    order["settings"] = {"input": factories.INPUT, "output": None, "labels": None}
    sandbox = Sandbox(tmp_path / "s", order, Settings(data_dir=tmp_path))
    seen, deadline = set(), time.monotonic() + 60
    while sandbox.inbox.empty():
        assert time.monotonic() < deadline
        seen |= opened(sandbox.process.pid)
        time.sleep(0.01)
    assert any(file.endswith("log") for file in seen)  # it was looked at while it lived
    assert not any(BOOK in file for file in seen)
    answer = sandbox.answer(late=False)
    assert answer is not None and "onnxruntime" in answer["summary"]["checked"]["against"]


def opened(pid: int) -> set[str]:
    found = set()
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            found.add(str(link.readlink()))
    except OSError:
        pass  # it has ended, or has closed that one
    return found
