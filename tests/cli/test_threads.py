"""With how many threads a command computes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from radii.cli import threads
from radii.cli.threads import bound_threads, usable_cpus


@pytest.mark.parametrize(
    ("told", "cpus", "found"),
    [
        (None, 8, 1),
        ("", 8, 1),
        ("4", 8, 4),
        ("4", 2, 2),
        ("3,2", 8, 3),
        ("0", 8, 1),
        ("-1", 8, 1),
        ("many", 8, 1),
        ("²", 8, 1),
    ],
)
def test_one_thread_unless_told(told: str | None, cpus: int, found: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cpus", lambda: cpus)
    environment = {} if told is None else {"OMP_NUM_THREADS": told}
    bound_threads(environment)
    assert environment == dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(found))


def test_what_one_library_was_told_stays() -> None:
    environment = {"OPENBLAS_NUM_THREADS": "2"}
    bound_threads(environment)
    assert environment["OPENBLAS_NUM_THREADS"] == "2" and environment["MKL_NUM_THREADS"] == "1"


QUOTAS = {
    "none": ("0::/\n", {}, 1000),
    "version 2, unlimited": ("0::/a\n", {"a/cpu.max": "max 100000\n"}, 1000),
    "version 2": ("0::/a\n", {"a/cpu.max": "200000 100000\n"}, 2),
    "version 2, a part of one": ("0::/\n", {"cpu.max": "10000 100000\n"}, 1),
    "version 2, rounded up": ("0::/\n", {"cpu.max": "250000 100000\n"}, 3),
    "version 2, of a parent": ("0::/a/b\n", {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "400000 100000\n"}, 3),
    "version 2, in a container": ("0::/docker/12ab\n", {"cpu.max": "300000 100000\n"}, 3),
    "version 1": ("4:cpu,cpuacct:/a\n", quota_1 := {"cpu,cpuacct/a/cpu.cfs_quota_us": "400000\n"}, 4),
    "version 1, unlimited": ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1000),
    "other controllers": ("3:memory:/a\n", {"memory/a/cpu.max": "100000 100000\n"}, 1000),
    "nonsense": ("0::/\n", {"cpu.max": "1 0\n", "cpu.cfs_quota_us": "x\n"}, 1000),
}
quota_1["cpu,cpuacct/a/cpu.cfs_period_us"] = "100000\n"


@pytest.mark.parametrize("name", QUOTAS)
def test_a_quota_counts(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups, files, found = QUOTAS[name]
    (tmp_path / "self").write_text(groups)
    for file, text in files.items():
        (tmp_path / "mount" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mount" / file).write_text(text)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(1000)), raising=False)
    assert usable_cpus(tmp_path / "self", tmp_path / "mount") == found


def test_affinity_counts() -> None:
    everything = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(everything)})
    try:
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, everything)
    assert 1 <= usable_cpus() <= len(everything)


PROGRAM = """
import sys
from radii.cli import main
def app():
    import numpy, torch
    numpy.ones((900, 900)) @ numpy.ones((900, 900))
    torch.ones((900, 900)) @ torch.ones((900, 900))
    import os
    print(torch.get_num_threads(), len(os.listdir("/proc/self/task")))
sys.modules["radii.cli.main"].app = app
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is asked")
@pytest.mark.skipif(usable_cpus() < 2, reason="there is but one CPU")
@pytest.mark.parametrize("told", [None, "2"])
def test_torch_and_numpy_obey(told: str | None) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    if told:
        environment["OMP_NUM_THREADS"] = told
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    torch_threads, all_threads = map(int, done.stdout.split())
    assert torch_threads == int(told or 1)
    assert (all_threads == 1) == (told is None)
