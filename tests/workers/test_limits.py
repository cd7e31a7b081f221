"""Limits that the worker itself was started under: an intake lives within them, and says so when it dies of one."""

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import factories
from tests.workers.harness import EXAMPLES
from tests.workers.test_read_model import slow_network
from workers.confine import RESOURCES
from workers.environment import bare_environment
from workers.intake.limits import LIMITS, met

GIB = 2**30
DIGITS = {"settings": {"input": factories.INPUT, "output": None, "labels": None}, "external_data": {}}

# In a process of its own, which is the worker: what it takes on can't be shaken off again.
PROGRAM = """
import json, logging, resource, sys
from pathlib import Path
from models.settings import Settings
from workers.intake.sandbox import Sandbox
logging.basicConfig()
order, settings, limits = json.load(sys.stdin)
folder = Path(sys.argv[1])
folder.mkdir()
settings = Settings(**settings)
for name, limit in limits.items():
    resource.setrlimit(getattr(resource, name), [resource.RLIM_INFINITY if n is None else n for n in limit])
sandbox = Sandbox(folder, order, settings)
sandbox.inbox.get(timeout=100)
print(json.dumps([sandbox.answer(late=False), sandbox.process.returncode]))
"""


def run(order: dict[str, Any], folder: Path, **limits: tuple[int | None, int | None]) -> tuple[dict[str, Any], str]:
    """What a worker under these limits (soft, hard) is answered, and what it logs."""
    settings = {"data_dir": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder / "sandbox")],
        input=json.dumps([order, settings, limits]),
        env=bare_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answer, _ = json.loads(done.stdout)
    assert answer is not None, done.stderr
    return answer, done.stderr


def model(file: Path) -> dict[str, Any]:
    return {"noun": "model", "file": str(file), **DIGITS}


ROOMY: dict[str, tuple[int | None, int | None]] = {
    "RLIMIT_CPU": (100, 100),
    "RLIMIT_AS": (6 * GIB, 7 * GIB),
    "RLIMIT_FSIZE": (GIB, None),
    "RLIMIT_NOFILE": (16, 20),
    "RLIMIT_CORE": (0, 0),
}


@pytest.mark.parametrize("limits", [ROOMY, {"RLIMIT_CORE": (0, 0)}], ids=["all", "none of ours"])
def test_a_lower_limit_that_suffices_is_no_obstacle(limits: dict[str, Any], tmp_path: Path) -> None:
    answer, said = run(model(EXAMPLES / "digits.onnx"), tmp_path, **limits)
    assert answer["summary"]["num_classes"] == 10
    for name in LIMITS:
        assert (name in said) == (limits is ROOMY)


@pytest.mark.parametrize("mib", [300, 420, 540])
def test_too_little_address_space_is_named(mib: int, tmp_path: Path) -> None:
    """Wherever it ends: in the dynamic linker, in OpenBLAS, in torch."""
    answer, said = run(model(EXAMPLES / "digits.onnx"), tmp_path, RLIMIT_AS=(mib * 2**20, mib * 2**20))
    check(answer, "ulimit -v", mib * 2**20)
    assert str(mib * 2**20) in said


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        SystemError("error return without exception set"),
        RuntimeError("could not create a primitive"),
        RuntimeError("Exception during initialization: std::bad_alloc"),
    ],
    ids=["python", "an import", "oneDNN", "onnxruntime"],
)
def test_what_libraries_say_short_of_memory_is_known(error: Exception) -> None:
    """Each was seen of them under some ulimit -v between 530 and 650 MiB."""
    assert met(error) == "memory_bytes"
    assert met(RuntimeError("shapes do not match")) is None


def check(answer: dict[str, Any], shell: str, limit: int) -> None:
    problem = answer["problem"]
    assert problem["type"] == "/problems/intake-limit"
    assert str(limit) in problem["detail"] and shell in problem["detail"]
    assert shell in problem["remedy"] and "RADII" not in problem["remedy"]


@pytest.mark.parametrize(("soft", "hard", "named"), [(2, 2, 1), (3, None, 3), (2, 50, 2)])
def test_too_little_time_is_named(soft: int, hard: int | None, named: int, tmp_path: Path) -> None:
    """A second is kept back from the hard limit, at which the kernel kills without telling what for."""
    (tmp_path / "slow.onnx").write_bytes(slow_network())
    order = model(tmp_path / "slow.onnx")
    order["settings"] = {**order["settings"], "input": {**factories.INPUT, "shape": [64, 128, 128]}}
    answer, _ = run(order, tmp_path, RLIMIT_CPU=(soft, hard))
    check(answer, "ulimit -t", named)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_too_small_files_are_named(dtype: str, tmp_path: Path) -> None:
    """float16 is written twice as large as it was unpacked: that is another call that fails."""
    np.savez(tmp_path / "d.npz", x=np.zeros((64, 1000), dtype))
    order = {"noun": "dataset", "file": str(tmp_path / "d.npz"), "max_dataset_bytes": GIB}
    limit = 200_000
    answer, _ = run(order, tmp_path, RLIMIT_FSIZE=(limit, limit))
    check(answer, "ulimit -f", limit)


def test_only_lower_limits_are_taken_and_told() -> None:
    before = {name: resource.getrlimit(what) for name, what in RESOURCES.items()}
    code = f"""
import resource
from workers.confine import GRACE, RESOURCES, confine, inherited
resource.setrlimit(resource.RLIMIT_CPU, (20, 30))
resource.setrlimit(resource.RLIMIT_AS, ({GIB}, {2 * GIB}))
resource.setrlimit(resource.RLIMIT_NOFILE, (500, 1000))
wanted = dict(cpu_seconds=25, memory_bytes={3 * GIB}, file_bytes=1000, open_files=64)
assert inherited(wanted) == dict(cpu_seconds=20, memory_bytes={GIB}), inherited(wanted)
confine(**wanted)
found = {{name: resource.getrlimit(what) for name, what in RESOURCES.items()}}
assert found == dict(
    cpu_seconds=(20, 20 + GRACE), memory_bytes=({GIB}, {GIB}), file_bytes=(1000, 1000), open_files=(64, 64)
), found
"""
    subprocess.run([sys.executable, "-c", code], env=bare_environment(), check=True)
    assert before == {name: resource.getrlimit(what) for name, what in RESOURCES.items()}
