"""`radii batch`, against a real service."""

import csv
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from radii.cli.batch_bars import bars
from radii.cli.batch_file import read
from tests.cli.conftest import DIGITS, Radii
from tests.service import Service, clean_environment

METHODS = [{"kind": "smoothing", "sigma": 0.25, "n": 200}, {"kind": "lipschitz"}]
SWEEP = """
name: sweep
models:
  - nets/digits.onnx
  - {file: nets/digits-lipschitz.onnx, name: bounded, range: [0, 1]}
datasets: [digits.npz]
methods:
  - {kind: smoothing, sigma: 0.25, alpha: 1e-3, n: 200}
  - {kind: lipschitz}
subset: {stop: 4}
"""


@pytest.fixture(scope="module")
def sweep(folder: Path) -> str:
    """A file that is not where the command runs, and names others beside it."""
    (folder / "sweep" / "nets").mkdir(parents=True)
    for name in ("digits.onnx", "digits-lipschitz.onnx"):
        (folder / "sweep" / "nets" / name).write_bytes((DIGITS / name).read_bytes())
    (folder / "sweep" / "digits.npz").write_bytes((DIGITS / "digits.npz").read_bytes())
    (folder / "sweep" / "sweep.yaml").write_text(SWEEP)
    return "sweep/sweep.yaml"


def batch_id(done: subprocess.CompletedProcess[str]) -> str:
    """The id that a command told."""
    found = re.search(r"The batch: (bat_\w+)", done.stdout)
    assert found, done.stdout + done.stderr
    return found[1]


def test_from_a_file_to_a_table(radii: Radii, service: Service, sweep: str, folder: Path) -> None:
    done = radii("batch", sweep, "--radii", "0.1,0.25", "-o", "table.csv")
    assert done.returncode == 0, done.stderr
    for line in ("uploading digits.onnx: 100 %", "uploading digits.npz: 100 %", "4 of 4 ended: 100 %"):
        assert line in done.stderr
    assert done.stderr.count("uploading digits.npz: 0 %") <= 1
    with service.client() as client:
        batch = client.get(batch_id(done))
        rows = client.batch_table(batch["id"], radii=[0.1, 0.25])
        for row in rows:
            job = client.get(row["certification_id"])
            figures = ("inputs", "abstained", "accuracy", "clean_accuracy", "median_radius")
            assert {name: row[name] for name in figures} == {name: job["summary"][name] for name in figures}
            for point in row["certified_accuracy"]:
                assert point == client.curve(job["id"], radius=point["radius"])["at"]
    assert (batch["name"], batch["state"], batch["states"]) == ("sweep", "succeeded", {"succeeded": 4})
    assert [(row["model"], row["kind"]) for row in rows] == [
        (model, kind) for model in ("digits", "bounded") for kind in ("smoothing", "lipschitz")
    ]
    with (folder / "table.csv").open(newline="") as file:
        kept = list(csv.DictReader(file))
    at = "certified_accuracy_at_0.25"
    assert [float(row[at]) for row in kept] == [row["certified_accuracy"][1]["certified_accuracy"] for row in rows]
    assert [json.loads(row["method"]) for row in kept] == [row["method"] for row in rows]
    assert re.search(r"^data digits   state succeeded *$", done.stdout, re.MULTILINE)
    assert len(re.findall(r"^(?:digits|bounded) ", done.stdout, re.MULTILINE)) == 4 and "at 0.25" in done.stdout

    again = radii("batch", sweep, "--radii", "0.25", "-o", "table.parquet", "--json")
    assert again.returncode == 0, again.stderr
    shown = json.loads(again.stdout)
    assert shown["id"] == batch["id"]
    table = pq.read_table(folder / "table.parquet")
    assert table.column("certification_id").to_pylist() == [row["certification_id"] for row in shown["table"]]
    by_id = radii("batch", batch["id"])
    assert by_id.returncode == 0 and batch_id(by_id) == batch["id"]
    listed = radii("batch").stdout
    assert batch["id"] in listed and "sweep  4 of 4 ended" in listed


def test_items_in_json_with_a_denoiser_and_ids(radii: Radii, service: Service, folder: Path, sweep: str) -> None:
    from tests.graph.build import model, node

    with service.client() as client:
        known = client.wait(client.create_model(DIGITS / "digits.onnx", shape=[1, 8, 8]))["id"]
        data = client.wait(client.create_dataset(DIGITS / "digits.npz"))["id"]
    (folder / "sweep" / "same.onnx").write_bytes(model([node("Identity", ["x"])], (1, 8, 8), {}))
    items = [
        {"model": known, "dataset": data, "method": METHODS[0], "denoiser": "same.onnx", "subset": {"stop": 2}},
        {
            "model": "nets/digits.onnx",
            "dataset": data,
            "method": METHODS[1],
            "subset": {"start": 1, "stop": 4},
            "priority": 2,
        },
    ]
    (folder / "sweep" / "items.json").write_text(json.dumps({"items": items}))
    done = radii("batch", "sweep/items.json", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["table"]
    with service.client() as client:
        assert [client.get(row["certification_id"])["priority"] for row in rows] == [5, 2]
    assert [(row["model_id"], row["inputs"]) for row in rows] == [(known, 2), (known, 3)]
    assert rows[0]["denoiser_model_id"] and rows[0]["denoiser_model_id"] != known


def test_a_batch_has_the_priority_of_its_file_or_of_the_command(
    radii: Radii, service: Service, folder: Path, sweep: str
) -> None:
    """The command's goes before; the batch is another one each time, for the subset differs."""
    for stop, priority, flags, expected in (
        (1, 7, [], 7),
        (2, 7, ["--priority", "0"], 0),
        (3, None, ["--priority", "9"], 9),
    ):
        told = "" if priority is None else f"priority: {priority}\n"
        (folder / "sweep" / "urgent.yaml").write_text(SWEEP.replace("stop: 4", f"stop: {stop}") + told)
        done = radii("batch", "sweep/urgent.yaml", "--json", *flags)
        assert done.returncode == 0, done.stderr
        with service.client() as client:
            jobs = [client.get(row["certification_id"]) for row in json.loads(done.stdout)["table"]]
        assert [job["priority"] for job in jobs] == [expected] * 4
    (folder / "sweep" / "urgent.yaml").write_text(SWEEP + "priority: 10\n")
    wrong = radii("batch", "sweep/urgent.yaml")
    assert wrong.returncode == 2 and "priority: Input should be less than or equal to 9" in wrong.stderr
    late = radii("batch", json.loads(done.stdout)["id"], "--priority", "3")
    assert late.returncode == 2 and "a batch has its priority from its start" in late.stderr


def test_what_does_not_fit_is_named_together(radii: Radii, folder: Path, sweep: str) -> None:
    median = "  - {kind: median, sigma: 0.25, radius: 0.1}\n"
    (folder / "sweep" / "median.yaml").write_text(SWEEP.replace("subset", f"{median}subset"))
    done = radii("batch", "sweep/median.yaml")
    assert done.returncode == 1
    assert "Some certifications of the batch can't be" in done.stderr
    assert re.search(r"^2: mdl_\w+ is a classifier, and median is about a regressor", done.stderr, re.MULTILINE)
    assert re.search(r"^5: mdl_\w+ is a classifier", done.stderr, re.MULTILINE)
    assert done.stdout == "" and "Traceback" not in done.stderr


def test_a_file_that_intake_rejects_is_named(radii: Radii, folder: Path, sweep: str) -> None:
    (folder / "sweep" / "nets" / "bad.onnx").write_bytes(b"\x08\x0a\x12\x07nothing")
    (folder / "sweep" / "bad.yaml").write_text(SWEEP.replace("nets/digits.onnx", "nets/bad.onnx"))
    done = radii("batch", "sweep/bad.yaml")
    assert done.returncode == 1
    assert done.stderr.endswith("The model: nets/bad.onnx\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it holds no mapping"),
        ("models: [a.onnx", ", line 1: expected ',' or ']'"),
        ("models: [a.onnx]\nmodels: [b.onnx]", 'found duplicate key "models"'),
        ("models: [a.onnx]", "give models, datasets and methods, which are combined; or items"),
        (SWEEP + "epsilon: 3", "epsilon: Extra inputs are not permitted"),
        (SWEEP.replace("alpha: 1e-3", "alpha: 2"), "methods.0.alpha: Input should be less than 1"),
        (SWEEP.replace("range: [0, 1]", "range: [0]"), "models.1.range: List should have at least 2 items"),
        (SWEEP.replace("datasets", "items: []\ndatasets"), "items: List should have at least 1 item"),
        (SWEEP.replace("digits.onnx", "no.onnx"), "there is no file {folder}/nets/no.onnx, which"),
    ],
)
def test_a_file_that_cannot_be_right_is_refused_before_anything_is_sent(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "batch.yaml"
    file.write_text(text)
    done = command(str(file), "--url", "http://127.0.0.1:9")
    assert done.returncode == 2, done.stderr
    assert message.format(folder=tmp_path) in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.yaml",), "there is no file nowhere.yaml"),
        (("bat_0", "-o", "table.xlsx"), "--output ends with one of .csv, .json, .parquet"),
        (("nowhere.yaml", "--cancel"), "radii batch bat_... --cancel"),
    ],
)
def test_a_command_that_cannot_be_right(arguments: tuple[str, ...], message: str) -> None:
    done = command(*arguments, "--url", "http://127.0.0.1:9")
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`radii batch` without a service."""
    line = [sys.executable, "-m", "radii.cli", "batch", *arguments]
    return subprocess.run(line, env={**clean_environment(), "COLUMNS": "300"}, capture_output=True, text=True)


def test_yaml_says_what_it_looks_like(tmp_path: Path) -> None:
    """1e-3 is a number, and `on` a word."""
    (tmp_path / "batch.yaml").write_text(SWEEP.replace("n: 200", "n: 200, grid: on"))
    method: Any = (read(tmp_path / "batch.yaml").methods or [])[0]
    assert (method.alpha, method.grid) == (0.001, "on")


def test_an_interrupted_command_leaves_the_batch_and_a_cancelled_one_ends_with_1(
    radii: Radii, service: Service, folder: Path, sweep: str
) -> None:
    (folder / "sweep" / "long.yaml").write_text(SWEEP.replace("n: 200", "n: 10000000").replace("stop: 4", "stop: 40"))
    line = [sys.executable, "-m", "radii.cli", "batch", "sweep/long.yaml"]
    started: dict[str, Any] = {"env": service.environment(), "cwd": folder, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(line, **started)
    assert process.stderr
    while "certifying" not in (said := process.stderr.readline()):
        assert said, "it has ended"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    found = re.search(r"The batch goes on\. Follow it: radii batch (bat_\w+); end it: radii batch \1 --cancel", said)
    assert found and "Traceback" not in said
    following = subprocess.Popen([*line[:-1], found[1]], **started, stdout=subprocess.PIPE)
    assert following.stderr and "certifying" in following.stderr.readline()
    cancelled = radii("batch", found[1], "--cancel")
    assert cancelled.returncode == 0 and f"{found[1]}, cancelled" in cancelled.stdout
    shown, _ = following.communicate(timeout=60)
    assert (following.returncode, f"{found[1]}, cancelled" in shown) == (1, True)
    twice = radii("batch", found[1], "--cancel")
    assert twice.returncode == 1 and f"{found[1]} is cancelled already" in twice.stderr


def test_a_bar_for_each_running_job(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from rich.console import Console

    from radii.cli import batch_bars

    stream = io.StringIO()
    terminal = Console(file=stream, force_terminal=True, width=150, height=40, highlight=False)
    monkeypatch.setattr(batch_bars, "err", terminal)

    def seen(done: int, *running: tuple[str, int]) -> dict[str, Any]:
        jobs = [
            {"id": name, "model": name, "dataset": "digits", "method": METHODS[1], "state": "running",
             "progress": {"done": part, "total": 10}}
            for name, part in running
        ]  # fmt: skip
        return {"progress": {"done": done, "total": 3, "fraction": done / 3}, "certifications": jobs}

    with bars() as show:
        show(seen(0, ("first", 1), ("second", 5)))
        terminal.file.flush()
        show(seen(1, ("second", 8)))
    last = stream.getvalue().rpartition("certifying, 1 of 3 ended")[2]
    assert "lipschitz: second on digits" in last and "80%" in last
    assert "first on digits" in stream.getvalue() and "first on digits" not in last


NAMES = ("cifar10-resnet20-v2-advtrained", "mobilenetv3-small-075-imagenet1k")


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_and_the_bars_fit_a_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With names as networks have them: no figure and no heading is cut, and names are whole, if on several lines."""
    import io

    from rich.console import Console

    from radii.cli import batch_bars
    from radii.cli.batch_run import _table
    from radii.methods.smoothing.method import Smoothing

    jobs = [
        {"id": name, "model": name, "dataset": "cifar10-test-10000", "method": Smoothing(sigma=sigma).model_dump(),
         "state": "running", "progress": {"done": 1, "total": 8}, "accuracy": 0.8312, "norm": "l2", "problem": None,
         "median_radius": 0.41234, "certified_accuracy": [{"certified_accuracy": share} for share in (0.6512, 0.412)]}
        for name in NAMES
        for sigma in (0.25, 0.5)
    ]  # fmt: skip
    shown = Console(file=io.StringIO(), width=width)
    shown.print(_table([*jobs[:3], {**jobs[3], "state": "failed", "median_radius": None}], [0.25, 0.5]))
    lines = shown.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0].split() == ["data", "cifar10-test-10000"]  # once
    assert "…" not in "".join(lines) and len(lines) <= (16 if width == 80 else 8)
    words = "".join(lines).split()
    for figure in ("0.4123", "83.1%", "65.1%", "41.2%", "running", "failed", "(l2)", "accuracy", "certified"):
        assert figure in words
    model = "".join(line[: lines[3].index("method")].strip() for line in lines[4:])
    assert model == "".join(name for name in NAMES for _ in "ab")
    stream = io.StringIO()
    monkeypatch.setattr(batch_bars, "err", Console(file=stream, force_terminal=True, width=width, color_system=None))
    with bars() as show:
        show({"ended": False, "progress": {"done": 0, "total": 4, "fraction": 0.1}, "certifications": jobs[:1]})
    last = stream.getvalue().rpartition("certifying, 0 of 4 ended")[2]
    assert "12%" in last and "smoothing sigma 0.25: cifar10-resnet20" in last
