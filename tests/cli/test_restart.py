"""A run that outlives a restart of its service; and what is said where it can't."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from tests.cli.conftest import DIGITS
from tests.service import Service, clean_environment, running, start, stop, until

COMMAND = [sys.executable, "-m", "radii.cli"]
QUESTION = (str(DIGITS / "digits.onnx"), str(DIGITS / "digits.npz"), "--sigma", "0.25", "--n", "20000")
SHORT_LEASE = ("--lease-seconds", "4")  # work of a killed worker is taken up by the next one after that


def begun(service: Service, folder: Path, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    """The command, once it has shown the first tenth."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        env={**service.environment(), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line(process, r": [1-9]0 %")
    return process


def line(process: "subprocess.Popen[str]", pattern: str) -> str:
    """The first line of standard error that holds ``pattern``."""
    assert process.stderr is not None
    for said in process.stderr:
        if re.search(pattern, said):
            return said
    raise AssertionError(f"it has ended, and never said {pattern}")


def test_a_run_outlives_a_restart(tmp_path: Path) -> None:
    service = start(tmp_path / "data", *SHORT_LEASE)
    process = begun(service, tmp_path, "certify", *QUESTION, "--subset", "0:40", "-o", "x.jsonl")
    assert stop(service, signal.SIGKILL) == -signal.SIGKILL
    said = line(process, "does not answer")
    assert re.search(rf"{service.url} does not answer .*; trying again for 10 min", said)
    assert re.search(r"follow it later: radii jobs cert_\w{32} --wait$", said)
    with running(tmp_path / "data", *SHORT_LEASE, port=urlsplit(service.url).port or 0):
        shown, errors = process.communicate()
    assert process.returncode == 0, errors
    rows = [json.loads(row) for row in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert [(row["index"], sum(row["counts"])) for row in rows] == [(index, 20_000) for index in range(40)]
    assert re.search(r"The job: cert_\w{32}", shown)


def test_one_that_outlives_patience_says_how_to_go_on(tmp_path: Path) -> None:
    service = start(tmp_path / "data")
    process = begun(service, tmp_path, "predict", *QUESTION, "--subset", "0:450", RADII_PATIENCE="2")
    stop(service, signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert re.search(rf"^error: {service.url} does not answer .*", errors, re.MULTILINE)
    assert re.search(r"^The certification: radii jobs cert_\w{32} --wait$", errors, re.MULTILINE)
    assert "Traceback" not in errors


def test_ctrl_c_before_there_is_a_job_says_so(tmp_path: Path) -> None:
    service = start(tmp_path / "data")
    try:
        worker = next(process for process in service.family() if "--queues intake" in " ".join(process.cmdline()))
        for process in (worker, *worker.children(recursive=True)):
            process.suspend()
        process = subprocess.Popen(
            [*COMMAND, "certify", *QUESTION], env=service.environment(), stderr=subprocess.PIPE, text=True
        )
        with service.client() as client:
            until(lambda: len(list(client.list("models"))))
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate()
            assert process.returncode == 130
            assert "Interrupted before a certification was known to have started" in errors
            assert list(client.list("certifications")) == []
    finally:
        stop(service, signal.SIGKILL)


def test_nobody_there_is_still_said_at_once(tmp_path: Path) -> None:
    command = [*COMMAND, "jobs", "cert_1", "--wait", "--url", "http://127.0.0.1:9"]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.endswith("Is the service up? `radii up`\n")
