"""`radii lipschitz` needs no service; what it says, a certification says too."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radii.cli.lipschitz import COLUMNS, _table
from radii.graph import normalized, read_onnx
from radii.lipschitz import NetworkBound, network_bound
from radii.methods import Lipschitz
from radii.methods.lines import above, below
from tests.acceptance import real
from tests.cli.conftest import DIGITS, Radii
from tests.graph.build import model, node
from tests.reports import nearly, timeless
from tests.service import Service
from tests.test_linear_classifier import exact

MODEL = DIGITS / "digits.onnx"


def lipschitz(*arguments: object, columns: int = 200) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "radii.cli", "lipschitz", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={"COLUMNS": str(columns)})


def as_json(bound: NetworkBound) -> dict[str, Any]:
    """Its report, as one reads it from JSON."""
    found: dict[str, Any] = json.loads(json.dumps(bound.to_json()))
    return found


def test_every_layer_and_the_network(tmp_path: Path) -> None:
    answer = lipschitz(MODEL)
    assert (answer.returncode, answer.stderr) == (0, "")
    bound = network_bound(MODEL)
    for words in ("Conv", "10x64", "node_", above(bound.upper), above(bound.layers[0].upper), "by the rule"):
        assert words in answer.stdout
    assert "beware" not in answer.stdout

    found = json.loads(lipschitz(MODEL, "--mean", "0.5", "--std", "0.25", "--bound", "product", "--json").stdout)
    graph = normalized(read_onnx(MODEL.read_bytes()), 0.5, 0.25)
    assert (found.pop("bounded"), found.pop("digest")) == (True, graph.digest)
    assert nearly(timeless(found), timeless(as_json(network_bound(graph, bound="product"))))


def test_a_budget_that_is_met_is_told_with_how_to_ask_for_more(tmp_path: Path) -> None:
    rng, file = np.random.default_rng(0), tmp_path / "wide.onnx"
    weights = {"v": rng.standard_normal((8, 600)), "w": rng.standard_normal((600, 3))}
    nodes = [node("MatMul", ["x", "v"], "a"), node("Relu", ["a"], "b"), node("MatMul", ["b", "w"])]
    file.write_bytes(model(nodes, (8,), {name: weight.astype("f4") for name, weight in weights.items()}))
    poor, rich = (json.loads(lipschitz(file, "--budget", budget, "--json").stdout) for budget in ("1", "1024"))
    (note,) = (note for note in poor["notes"] if note.startswith("eclipse"))
    assert note.endswith("take too long: a budget of 52 or more takes them")
    assert rich["notes"] == [] and rich["upper"] < poor["upper"]


def test_a_vacuous_bound_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "steep.onnx"
    file.write_bytes(model([node("MatMul", ["x", "c"])], (6,), {"c": 1e6 * np.eye(6, 2, dtype="f4")}))
    answer = lipschitz(file, columns=80)
    assert answer.returncode == 0
    for words in ("vacuous", "Use smoothing"):
        assert words in answer.stdout
    assert max(map(len, answer.stdout.splitlines())) <= 80


def test_every_obstacle_is_named_with_its_remedy(tmp_path: Path) -> None:
    file = tmp_path / "gate.onnx"
    steps = [node("Mul", ["x", "x"], "s"), node("Exp", ["s"], "e"), node("MatMul", ["e", "w"])]
    file.write_bytes(model(steps, (6,), {"w": np.ones((6, 2), "f4")}))
    answer = lipschitz(file)
    assert (answer.returncode, answer.stdout) == (1, "")
    for words in ("has no useful Lipschitz bound", "Exp", "Use smoothing"):
        assert words in answer.stderr

    file.write_bytes(model([node("LSTM", ["x"], "a"), node("Flatten", ["a"])], (6,)))
    answer = lipschitz(file, "--json")
    found = json.loads(answer.stdout)
    assert (answer.returncode, found["bounded"]) == (1, False)
    [obstacle] = found["obstacles"]
    assert set(obstacle) == {"node", "operator", "reason", "remedy"} and obstacle["operator"] == "LSTM"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--bound", "best"), "--bound: Input should be 'auto'"),
        (("--rtol", "1"), "--rtol: Input should be less than or equal to 0.1"),
        (("--std", "0"), "std must be positive"),
    ],
)
def test_what_cannot_be_right_is_refused(arguments: tuple[str, ...], message: str) -> None:
    answer = lipschitz(MODEL, *arguments)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr


def test_names_from_the_file_do_not_move_the_cursor(tmp_path: Path) -> None:
    file = tmp_path / "evil.onnx"
    file.write_bytes(model([node("Relu", ["x"], "r", name="\x1b[2J[red]gone"), node("Flatten", ["r"])], (6,)))
    answer = lipschitz(file)
    assert answer.returncode == 0
    assert "\x1b" not in answer.stdout and "[red]gone" in answer.stdout


def test_a_narrow_terminal_gets_fewer_columns_and_a_wide_one_all() -> None:
    layers = as_json(network_bound(MODEL))["layers"]
    layers[0] |= {"torus": [9, 9], "seconds": 1.0}
    assert [column.header for column in _table(layers, 300).columns] == list(COLUMNS)
    for width in (60, 80, 120):
        assert {"node", "operator", "upper"} <= {column.header for column in _table(layers, width).columns}


def test_bounds_in_print_are_bounds_still() -> None:
    draw = np.random.default_rng(0)
    for number in (*draw.lognormal(0, 30, 1000).tolist(), 1.0, 0.1, 1e300, 1e-300):
        exact = Fraction(repr(number))  # as JSON has it
        assert Fraction(below(number)) <= exact <= Fraction(above(number))
        assert Fraction(above(number)) <= exact * (1 + Fraction(1, 10**6)) + Fraction(1, 10**320)


def test_one_output_of_several_and_a_binary_classifier(radii: Radii, service: Service, folder: Path) -> None:
    """What the remedies name can be said on the command line, of a file on this machine and of the service."""
    for options, name, data in (
        (("--output-name", "action"), "actor_critic.onnx", str(real("ac.npz"))),
        (("--task", "binary"), "one_sigmoid.onnx", "four.npz"),
    ):
        np.savez(folder / "four.npz", x=np.random.default_rng(3).uniform(size=(2, 4)).astype(np.float32), y=[0, 1])
        question = ("certify", str(real(name)), data, "--method", "lipschitz", "--range=-10,10", *options)
        done = radii(*question, "-o", "rows.jsonl")
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
        assert rows and all(row["radius"] is not None or row["abstained"] for row in rows)
    assert lipschitz(real("one_sigmoid.onnx"), "--task", "binary").returncode == 0
    assert lipschitz(real("one_sigmoid.onnx")).returncode == 1


def test_a_certification_rests_on_the_same_bound(radii: Radii, service: Service, folder: Path) -> None:
    question = ("certify", str(MODEL), str(DIGITS / "digits.npz"), "--method", "lipschitz", "--subset", "0:20")
    rows = {}
    for norm in ("l2", "linf"):
        done = radii(*question, "--norm", norm, "--bound", "auto", "-o", f"{norm}.jsonl")
        assert done.returncode == 0, done.stderr
        assert f"{norm} radius" in done.stdout
        assert "by the rule" in done.stdout
        rows[norm] = [json.loads(line) for line in (folder / f"{norm}.jsonl").read_text().splitlines()]
        assert {row["norm"] for row in rows[norm]} == {norm}
    job_id = done.stdout.split("The job: ")[1].split()[0]
    with service.client() as client:
        report, job, curve = client.report(job_id), client.get(job_id), client.curve(job_id)
    assert (job["method"], curve["norm"]) == (Lipschitz(norm="linf").model_dump(), "linf")
    assert job["summary"]["bound"] == {key: report[key] for key in ("upper", "norm", "rule", "vacuous")}
    assert (report.pop("certification_id"), report.pop("model_id")) == (job_id, job["model_id"])
    assert nearly(timeless(report), timeless(as_json(network_bound(MODEL))))
    assert sum(row["radius"] is not None for row in rows["l2"]) > 15
    for two, inf in zip(*rows.values(), strict=True):
        assert (inf["radius"] is None) == (two["radius"] is None)
        if two["radius"] is not None:
            # as uploaded, an input has 64 pixels; nine decimals are kept, rounded down
            assert 0 <= Fraction(two["radius"]) / 8 - Fraction(inf["radius"]) + Fraction(1, 10**9) < Fraction(3, 10**9)


def test_one_bound_of_a_file_that_ends_in_softmax(radii: Radii, service: Service, folder: Path) -> None:
    """Library, command line and service; the radii are those of the linear classifier before it, from below."""
    file = real("end_softmax.onnx")
    bound = network_bound(file)
    printed = lipschitz(file)
    assert above(bound.upper) in printed.stdout
    assert "Softmax (node 1)" in printed.stdout
    found = json.loads(lipschitz(file, "--json").stdout)
    x = np.random.default_rng(0).uniform(0, 1, (20, 5)).astype("f4")
    np.savez(folder / "x.npz", x=x)
    done = radii("certify", str(file), "x.npz", "--method", "lipschitz", "-o", "rows.jsonl")
    assert done.returncode == 0, done.stderr
    with service.client() as client:
        report = client.report(done.stdout.split("The job: ")[1].split()[0])
    expected = as_json(bound)
    assert expected["left_out"] == [{"index": 1, "operator": "Softmax", "label": ""}]
    for other in (found, report):
        assert nearly(timeless({key: other[key] for key in expected}), timeless(expected))
    weight = next(iter(bound.graph.nodes[0].operator.arrays().values())).astype(float)
    for row, line in zip(x, (folder / "rows.jsonl").read_text().splitlines(), strict=True):
        prediction, radius = exact(weight, np.zeros(4), row)
        answer = json.loads(line)
        assert answer["prediction"] == prediction
        assert radius * (1 - 1e-6) - 1e-9 <= answer["radius"] <= radius


def test_a_network_that_does_not_read_its_input(radii: Radii, service: Service, folder: Path) -> None:
    """Its radii are the largest float, in print too."""
    question = ("certify", str(real("const.onnx")), str(real("sm01.npz")), "--method", "lipschitz", "--range=-10,10")
    for norm in ("l2", "linf"):
        done = radii(*question, "--norm", norm)
        assert done.returncode == 0, done.stderr
        with service.client() as client:
            median = client.get(done.stdout.split("The job: ")[1].split()[0])["summary"]["median_radius"]
        assert 7e307 < median < float("inf")
        assert f"{below(median)}  ({norm})" in done.stdout


def test_the_service_refuses_what_has_no_bound_and_names_every_obstacle(
    radii: Radii, service: Service, folder: Path
) -> None:
    steps = [node("Mul", ["x", "x"], "s"), node("Exp", ["s"], "e"), node("MatMul", ["e", "w"])]
    (folder / "gate.onnx").write_bytes(model(steps, (6,), {"w": np.ones((6, 2), "f4")}))
    np.savez(folder / "gate.npz", x=np.zeros((2, 6), "f4"))
    done = radii("certify", "gate.onnx", "gate.npz", "--method", "lipschitz")
    assert (done.returncode, done.stdout) == (1, "")
    for words in ("This method does not apply to this model", "Exp", "Use smoothing"):
        assert words in done.stderr
    done = radii("certify", "gate.onnx", "gate.npz", "--method", "lipschitz", "--norm", "l7")
    assert done.returncode == 2 and "--norm: Input should be 'l2', 'linf' or 'l1'" in done.stderr
