"""Files that exporters, converters and optimisers wrote: what docs/exporters.md says of each holds."""

import json
import re
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import onnx
import pytest
import torch

from radii.graph import Graph, Task, UnsupportedModel, methods, read_onnx, to_module
from radii.local import verdict
from tests.graph.build import relative_gap
from tests.workers.test_read_model import order
from workers.intake.read_model import read_model
from workers.intake.rejected import Rejected

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "data" / "exporters"
PAGE = (ROOT / "docs" / "exporters.md").read_text()
MAKERS = (FOLDER / "make.sh").read_text() + (FOLDER / "make.py").read_text()


class Row(NamedTuple):
    """What the page says of a file."""

    tool: str
    verdict: list[str]  # the methods that apply, or "refused"
    task: Task
    output: str | None
    remedy: str | None  # words of what radii says
    instead: str | None  # the file that comes of it
    name: str


def rows() -> dict[str, Row]:
    found = {}
    for line in PAGE.splitlines():
        if line.startswith("| ") and not line.startswith("| written by"):
            tool, _, verdict, said, file = (cell.strip() for cell in line.strip("|").split(" |"))
            given = dict(re.findall(r"`(output|task): (\w+)`", said))
            remedy = re.search(r"`([^`]+)`: `([\w-]+)`", said) if verdict == "refused" else None
            name = file.strip("`")
            words, instead = remedy.groups() if remedy else (None, None)
            task = cast(Task, given.get("task", "classifier"))
            found[name] = Row(tool, verdict.split(", "), task, given.get("output"), words, instead, name)
    return found


ROWS = rows()
ACCEPTED = [name for name, row in ROWS.items() if row.verdict != ["refused"]]
REFUSED = [name for name, row in ROWS.items() if row.verdict == ["refused"]]


def external(name: str) -> dict[str, Path]:
    return {file.name: file for file in FOLDER.glob(f"{name}.onnx.*")}


def read(row: Row) -> Graph:
    files = {name: file.read_bytes() for name, file in external(row.name).items()}
    content = (FOLDER / f"{row.name}.onnx").read_bytes()
    return read_onnx(content, external_data=files, output=row.output, task=row.task)


def taken_in(row: Row, shape: list[int]) -> dict[str, object]:
    """What intake says of it, which compares it with onnxruntime."""
    given = {"shape": shape, "range": [0.0, 1.0], "mean": 0.0, "std": 1.0}
    named = {"task": row.task, "output": row.output}
    return dict(read_model(order(FOLDER / f"{row.name}.onnx", external(row.name), input=given, **named)))


def test_the_page_has_a_row_for_every_file() -> None:
    assert set(ROWS) == {file.stem for file in FOLDER.glob("*.onnx")}
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 300_000
    versions = re.findall(r"^([\w-]+)\S* (\d+\.\d+\.\d+)", "\n".join(row.tool for row in ROWS.values()), re.MULTILINE)
    assert len(versions) >= 10
    for tool, version in versions:
        assert f"{tool.lower()}=={version}" in MAKERS, (tool, version)


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_accepted_file_makes_what_onnxruntime_makes(name: str) -> None:
    row, graph = ROWS[name], read(ROWS[name])
    assert [method["kind"] for method in methods(graph, row.task) if method["applies"]] == row.verdict
    stored = np.load(FOLDER / f"{name}.npz")
    (expected,) = (stored[key] for key in stored if key == row.output or (row.output is None and key != "x"))
    found = to_module(graph)(torch.from_numpy(stored["x"].astype(np.float32)))
    said = found[:, 1:].sigmoid() if row.task == "binary" else found
    gap = relative_gap(said.numpy(), expected.reshape(len(expected), -1).astype(np.float32))
    assert gap < (2e-3 if name.startswith("float16") else 1e-5)
    summary = taken_in(row, list(graph.input_shape))
    assert summary["methods"] == json.loads(json.dumps([*methods(graph, row.task), verdict(graph, row.task)]))


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_file_is_told_what_makes_one_that_is_accepted(name: str) -> None:
    row = ROWS[name]
    with pytest.raises(UnsupportedModel) as refused:
        read(row)
    outputs = [value.name for value in onnx.load(FOLDER / f"{name}.onnx", load_external_data=False).graph.output]
    told = [obstacle.remedy for obstacle in refused.value.obstacles]
    for output in outputs if len(outputs) > 1 else []:
        with pytest.raises(UnsupportedModel) as refused:
            read(row._replace(output=output))
        told += [obstacle.remedy for obstacle in refused.value.obstacles]
    assert row.remedy is None or any(row.remedy in remedy for remedy in told), told
    assert (row.instead is None) == (name == "sklearn-forest")
    assert row.instead is None or row.instead in ACCEPTED
    with pytest.raises(Rejected):
        taken_in(row, [4])
