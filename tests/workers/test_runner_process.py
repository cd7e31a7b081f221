"""What a runner finds in its environment, whatever stands in the worker's."""

import time
from pathlib import Path

import pytest

from workers.runner.process import Runner

REACHES = {"CUDA_VISIBLE_DEVICES": "0", "NVIDIA_VISIBLE_DEVICES": "all", "LD_LIBRARY_PATH": "/nowhere"}
CHANGES_ARITHMETIC = {
    "NVIDIA_TF32_OVERRIDE": "1",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
    "CUBLAS_EMULATE_DOUBLE_PRECISION": "1",
    "CUBLAS_EMULATE_SINGLE_PRECISION": "1",
    "CUBLAS_EMULATION_STRATEGY": "eager",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "DNNL_DEFAULT_FPMATH_MODE": "BF16",
}


def environ(pid: int) -> bytes:
    """It is empty for the moment in which the kernel puts a new program in place."""
    deadline = time.monotonic() + 10
    while not (found := Path(f"/proc/{pid}/environ").read_bytes()):
        assert time.monotonic() < deadline
    return found


def test_no_variable_that_changes_arithmetic_reaches_a_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in (REACHES | CHANGES_ARITHMETIC | {"RADII_NOISE_SECRET": "00"}).items():
        monkeypatch.setenv(key, value)
    runner = Runner()
    try:
        stored = environ(runner.process.pid).rstrip(b"\0").split(b"\0")
    finally:
        runner.kill()
        assert runner.process.stdin is not None
        runner.process.stdin.close()
    found = dict(entry.decode().split("=", 1) for entry in stored)
    assert found.items() >= REACHES.items()
    assert found["ORT_DISABLE_TELEMETRY"] == "1"
    assert found.keys().isdisjoint([*CHANGES_ARITHMETIC, "RADII_NOISE_SECRET"])
