"""`radii certify` and what shows its results, against the real service."""

import json
import math
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from safetensors.torch import save_file
from torch import nn

from radii.graph import read_onnx, to_canonical
from tests.cli.conftest import DIGITS, Radii
from tests.graph.build import model as onnx_model
from tests.graph.build import node
from tests.service import Service, clean_environment

MODEL, LIPSCHITZ, DATA = (str(DIGITS / name) for name in ("digits.onnx", "digits-lipschitz.onnx", "digits.npz"))


@pytest.fixture(scope="module")
def certified(radii: Radii, folder: Path) -> subprocess.CompletedProcess[str]:
    """A smoothing certification of five digits, from the command line; results in smoothing.jsonl."""
    done = radii("certify", MODEL, DATA, "--sigma", "0.25", "--n", "200", "--subset", "0:5", "-o", "smoothing.jsonl")
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def job_id(certified: subprocess.CompletedProcess[str]) -> str:
    """The id that it told."""
    return re.search(r"The job: (cert_\w+)", certified.stdout)[1]  # type: ignore[index]


def test_smoothing_from_files_to_figures(certified: subprocess.CompletedProcess[str], folder: Path) -> None:
    done = certified
    for line in ("uploading digits.onnx: 100 %", "certifying (smoothing): 100 %"):
        assert line in done.stderr
    assert re.search(r"method +smoothing sigma 0\.25 alpha 0\.001 n0 100 n 200", done.stdout)
    rows = [json.loads(line) for line in (folder / "smoothing.jsonl").read_text().splitlines()]
    labels = np.load(DATA)["y"]
    assert [(row["index"], row["label"]) for row in rows] == [(i, int(labels[i])) for i in range(5)]
    assert all(sum(row["counts"]) == 200 for row in rows)
    radii_found = sorted(row["radius"] or 0.0 for row in rows)
    assert re.search(rf"median radius +{math.floor(radii_found[2] * 1e4) / 1e4:.4f}", done.stdout)


def test_a_denoiser_and_the_cross_check_from_the_command_line(radii: Radii, folder: Path) -> None:
    blur = {"w": np.full((1, 1, 3, 3), 1 / 9, np.float32)}
    (folder / "blur.onnx").write_bytes(onnx_model([node("Conv", ["x", "w"], pads=[1, 1, 1, 1])], (1, 8, 8), blur))
    question = ("--sigma", "0.25", "--n", "200", "--subset", "0:2", "--cross-check", "2", "--denoiser", "blur.onnx")
    done = radii("certify", MODEL, DATA, *question, "-o", "denoised.jsonl")
    assert done.returncode == 0, done.stderr
    assert "uploading blur.onnx: 100 %" in done.stderr
    rows = [json.loads(line) for line in (folder / "denoised.jsonl").read_text().splitlines()]
    attacked = sum("attack" in row for row in rows)
    assert attacked == sum(not row["abstained"] for row in rows)
    assert re.search(rf"cross-check +{attacked} certified inputs attacked, none contradicted", done.stdout)
    done = radii("certify", MODEL, DATA, "--sigma", "0.25", "--denoiser", "nowhere.onnx")
    assert done.returncode == 2 and "there is no file nowhere.onnx" in done.stderr


def test_decisions_in_figures(radii: Radii) -> None:
    question = ("--sigma", "0.25", "--n", "2000", "--target-radius", "0.25", "--subset", "0:5")
    done = radii("certify", MODEL, DATA, *question, "-o", "decisions.jsonl")
    said = re.search(r"radius 0\.25 \(l2\) +(\d) certified, (\d) not certified, (\d) undecided", done.stdout)
    assert said is not None, done.stdout + done.stderr
    assert sum(map(int, said.groups())) == 5
    assert "median" not in done.stdout


def test_lipschitz_as_json_and_again_by_id(radii: Radii, folder: Path) -> None:
    first = radii("certify", LIPSCHITZ, DATA, "--method", "lipschitz", "--subset", "0:9:2", "--json", "-o", "a.jsonl")
    assert first.returncode == 0, first.stderr
    job = json.loads(first.stdout)
    assert job["summary"]["inputs"] == 5
    assert job["curve"]["inputs"] == 5
    again = radii(
        "certify", job["model_id"], job["dataset_id"], "--method", "lipschitz", "--subset", "0:9:2", "-o", "b.jsonl"
    )
    assert again.returncode == 0, again.stderr

    def what(name: str) -> list[tuple[int, float]]:
        rows = map(json.loads, (folder / name).read_text().splitlines())
        return [(row["index"], row["radius"]) for row in rows]

    assert [index for index, _ in what("a.jsonl")] == [0, 2, 4, 6, 8]
    assert what("a.jsonl") == what("b.jsonl")


def test_local_radii_and_whether_one_is_reached(radii: Radii, folder: Path) -> None:
    local = ("certify", MODEL, DATA, "--method", "local", "--norm", "linf", "--subset", "0:4", "--effort", "quick")
    done = radii(*local, "-o", "local.jsonl")
    assert done.returncode == 0, done.stderr
    assert "Lipschitz bound" in done.stdout and "claim" not in done.stdout
    rows = [json.loads(line) for line in (folder / "local.jsonl").read_text().splitlines()]
    assert all(row["rule"] == "local" and row["radius"] > row["lipschitz_radius"] for row in rows)
    target = sorted(row["radius"] for row in rows)[2]
    done = radii(*local, "--target-radius", str(target), "--box", "-o", "decided.jsonl")
    assert done.returncode == 0, done.stderr
    assert "of inputs from 0 to 1 alone (box)" in done.stdout and f"radius {target:g} (linf)" in done.stdout
    decided = [json.loads(line) for line in (folder / "decided.jsonl").read_text().splitlines()]
    assert all(d["radius"] == target for d, row in zip(decided, rows, strict=True) if row["radius"] >= target)
    shown = radii("results", done.stdout.split("The job: ")[1].split()[0])
    assert shown.returncode == 0 and "Lipschitz radius" in shown.stdout


def test_the_canonical_form_is_the_same_model(radii: Radii, folder: Path) -> None:
    form, weights = to_canonical(read_onnx(Path(LIPSCHITZ).read_bytes()))
    (folder / "graph.json").write_bytes(form)
    (folder / "weights.safetensors").write_bytes(weights)
    rows = []
    for model in (LIPSCHITZ, "graph.json"):
        done = radii("certify", model, DATA, "--sigma", "0.5", "--n", "500", "--subset", "0:3", "-o", "form.jsonl")
        assert done.returncode == 0, done.stderr
        found = map(json.loads, (folder / "form.jsonl").read_text().splitlines())
        rows.append([(row["counts"], row["pilot_counts"]) for row in found])
    assert rows[0] == rows[1]  # the same digest, so the same noise


def test_weights_of_a_named_architecture(radii: Radii, folder: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    save_file(network.state_dict(), folder / "mlp.safetensors")
    mlp = ("mlp.safetensors", DATA, "--method", "lipschitz", "--subset", "0:3", "-o", "mlp.jsonl")
    done = radii("certify", *mlp, "--architecture", 'mlp:{"hidden": [16]}')
    assert done.returncode == 0, done.stderr
    done = radii("certify", *mlp)
    assert done.returncode == 1 and "name their network" in done.stderr
    done = radii("certify", *mlp, "--architecture", "mlp")
    assert done.returncode == 1 and "'3.weight'" in done.stderr


def test_a_model_that_cannot_be_certified_is_refused_with_remedies(radii: Radii, folder: Path) -> None:
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Det", ["x"], ["d"]), helper.make_node("Unique", ["d"], ["y"])],
        "g",
        [tensor("x", TensorProto.FLOAT, ["b", 8, 8])],
        [tensor("y", TensorProto.INT64, ["b", "k"])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), folder / "bad.onnx")
    np.savez(folder / "x.npz", x=np.zeros((2, 8, 8), "f4"))
    done = radii("certify", "bad.onnx", "x.npz", "--sigma", "1")
    assert done.returncode == 1
    assert "The model can't be certified" in done.stderr
    assert "What to do: `obstacles` lists every offending node" in done.stderr
    assert "Det" in done.stderr
    assert "Unique" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_pickle_is_refused_with_the_command_that_converts_it(radii: Radii, folder: Path) -> None:
    (folder / "model.pt").write_bytes(b"\x80\x02}q\x00.")
    done = radii("certify", "model.pt", DATA, "--sigma", "1")
    assert done.returncode == 1
    assert "This model format is not accepted" in done.stderr
    assert "torch.onnx.export(" in done.stderr


def test_data_out_of_range_names_the_remedy(radii: Radii, folder: Path) -> None:
    np.savez(folder / "x.npz", x=np.full((2, 1, 8, 8), 7.5, "f4"))
    done = radii("certify", MODEL, "x.npz", "--sigma", "1")
    assert done.returncode == 1
    assert "What to do: Scale x to the values that the network was trained on" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.onnx", DATA, "--sigma", "1"), "there is no file nowhere.onnx"),
        ((MODEL, DATA), "smoothing needs --sigma"),
        ((MODEL, DATA, "--sigma", "1", "--rtol", "0.1"), "--rtol does not belong to smoothing"),
        ((MODEL, DATA, "--method", "splitting"), "splitting needs --sigma"),
        (
            (MODEL, DATA, "--method", "splitting", "--sigma", "1", "--alpha", "0.1"),
            "--alpha does not belong to splitting",
        ),
        (
            (MODEL, DATA, "--method", "local", "--effort", "most"),
            "--effort: Input should be 'quick', 'default' or 'high'",
        ),
        ((MODEL, DATA, "--method", "local", "--sigma", "1"), "--sigma does not belong to local"),
        ((MODEL, DATA, "--sigma", "1", "--box"), "--box does not belong to smoothing"),
        ((MODEL, DATA, "--sigma", "-1"), "--sigma: Input should be greater than 0"),
        ((MODEL, DATA, "--sigma", "1", "--alpha", "0"), "--alpha: Input should be greater than 0"),
        ((MODEL, DATA, "--sigma", "1", "--alpha", "1e-301"), "--alpha: Input should be at least 1e-300"),
        ((MODEL, DATA, "--sigma", "1", "--n", "3"), "Use n >= 10, or a larger alpha"),
        ((MODEL, DATA, "--sigma", "1", "--target-radius", "9"), "the most is 3.803"),
        ((MODEL, DATA, "--sigma", "1", "--target-radius", "0"), "--target-radius: Input should be greater than 0"),
        ((MODEL, DATA, "--sigma", "1", "--subset", "5"), "give START:STOP"),
        ((MODEL, DATA, "--sigma", "1", "--shape", "1x8"), "give lengths"),
        ((MODEL, DATA, "--sigma", "1", "--mean", "a"), "give numbers"),
        ((MODEL, DATA, "--method", "magic"), "magic"),
    ],
)
def test_what_cannot_be_right_is_refused_before_anything_is_sent(arguments: tuple[str, ...], message: str) -> None:
    command = [sys.executable, "-m", "radii.cli", "certify", *arguments, "--url", "http://127.0.0.1:9"]
    done = subprocess.run(command, env={**clean_environment(), "COLUMNS": "200"}, capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr


def test_nobody_there_is_said_in_a_line(radii: Radii) -> None:
    done = radii("models", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr.startswith("error: http://127.0.0.1:9 does not answer")
    assert done.stderr.endswith("Is the service up? `radii up`\n")


def test_a_wrong_key_says_where_the_right_one_is(radii: Radii) -> None:
    done = radii("models", RADII_API_KEY="wrong")
    assert done.returncode == 1
    assert "the file api-key in RADII_DATA_DIR" in done.stderr


@pytest.fixture
def long_job(service: Service) -> str:
    """A certification that takes minutes, just begun."""
    with service.client() as client:
        model = client.wait(client.create_model(MODEL, shape=[1, 8, 8]))
        dataset = client.wait(client.create_dataset(DATA))
        job = client.create_certification(model["id"], dataset["id"], {"kind": "smoothing", "sigma": 0.25, "n": 10**6})
    return str(job["id"])


def test_an_interrupted_command_leaves_the_job_and_says_how_to_end_it(
    service: Service, radii: Radii, long_job: str
) -> None:
    command = [sys.executable, "-m", "radii.cli", "jobs", long_job, "--wait"]
    process = subprocess.Popen(command, env=service.environment(), stderr=subprocess.PIPE, text=True)
    assert process.stderr
    assert process.stderr.readline() == "certifying (smoothing): 0 %\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert f"radii jobs {long_job} --wait" in said
    assert "Traceback" not in said
    cancelled = radii("jobs", long_job, "--cancel", "--json")
    assert json.loads(cancelled.stdout)["state"] == "cancelled"
    twice = radii("jobs", long_job, "--cancel")
    assert twice.returncode == 1
    assert "The certification has ended" in twice.stderr


def test_a_cancelled_job_is_no_answer(radii: Radii, service: Service, folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "radii.cli",
        "certify",
        MODEL,
        DATA,
        "--sigma",
        "0.3",
        "--n",
        "1000000",
        "-o",
        "no.jsonl",
    ]
    process = subprocess.Popen(
        command, env=service.environment(), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr and process.stdout
    while "certifying" not in (line := process.stderr.readline()):
        assert line, "it has ended"
    with service.client() as client:
        job = next(job for job in client.list("certifications") if job["method"]["sigma"] == 0.3)
        client.cancel(job["id"])
    shown, said = process.communicate(timeout=60)
    assert (process.returncode, shown) == (1, "")
    assert f"{job['id']} was cancelled" in said
    assert not (folder / "no.jsonl").exists()


def test_everything_can_be_listed_and_shown(radii: Radii, job_id: str) -> None:
    job = json.loads(radii("jobs", job_id, "--json").stdout)
    for command, row_id in (("models", job["model_id"]), ("datasets", job["dataset_id"]), ("jobs", job_id)):
        listed = radii(command)
        assert row_id in listed.stdout
        assert row_id in [row["id"] for row in json.loads(radii(command, "--json").stdout)]
        shown = radii(command, row_id)
        assert shown.returncode == 0, shown.stderr
        assert row_id in shown.stdout
    assert "certified accuracy" in radii("jobs", job_id).stdout


def test_results_as_a_table_lines_and_a_file(radii: Radii, service: Service, job_id: str, folder: Path) -> None:
    lines = radii("results", job_id, "--json").stdout
    assert lines == (folder / "smoothing.jsonl").read_text()
    assert radii("results", job_id, "--output", "again.jsonl").returncode == 0
    assert (folder / "again.jsonl").read_text() == lines
    table = radii("results", job_id).stdout
    for row in map(json.loads, lines.splitlines()):
        assert ("abstained" if row["radius"] is None else f"{math.floor(row['radius'] * 1e4) / 1e4:.4f}") in table
    with service.client() as client:
        assert [row["index"] for row in client.results(job_id)] == [0, 1, 2, 3, 4]
