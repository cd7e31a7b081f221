"""Data that are refused, or do not fit a model."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from models.problems import Problem
from tests import acceptance
from tests.remedies.files import FLAT, RGB, SMOOTHING, dense, inputs, npz
from tests.remedies.obey import ended, obeys, ready, rearranged, refused, register, taken_in
from tests.service import Service

LIPSCHITZ = {"kind": "lipschitz"}


def certify(http: httpx.Client, model_id: str, dataset_id: str) -> httpx.Response:
    body = {"model_id": model_id, "dataset_id": dataset_id, "method": LIPSCHITZ}
    return http.post("/v1/certifications", json=body)


@obeys(Problem.UNSUPPORTED_DATASET_FORMAT)
def test_write_it_with_numpy_savez(http: httpx.Client, tmp_path: Path) -> None:
    document = refused(register(http, "datasets", b"0.5,0.25\n"), Problem.UNSUPPORTED_DATASET_FORMAT)
    line = re.search(r"numpy\.savez\(.*\)", document["remedy"])[0]  # type: ignore[index]
    np.save(tmp_path / "x.npy", inputs())
    code = f"import numpy; x, y = numpy.load('x.npy'), [0, 1, 2, 0]; {line}"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    ready(http, "datasets", (tmp_path / "data.npz").read_bytes())


X = inputs()
ONE_HOT = np.eye(3)[[0, 1, 2, 0]]


@obeys(Problem.INVALID_DATASET)
@pytest.mark.parametrize(
    ("bad", "remedy", "good"),
    [
        ({"x": X, "labels": [0] * 4}, "numpy.savez('data.npz', x=x, y=y)", lambda: {"x": X, "y": [0] * 4}),
        ({"x": X, "y": ONE_HOT}, "y.argmax(1)", lambda: {"x": X, "y": ONE_HOT.argmax(1)}),
        ({"x": X, "y": np.ones(4)}, "y.astype('int64')", lambda: {"x": X, "y": np.ones(4).astype("int64")}),
        ({"x": X[0]}, "x[None]", lambda: {"x": X[0][None]}),
        ({"x": X[0]}, "x[:, None]", lambda: {"x": X[0][:, None]}),
        ({"x": X.astype(object)}, "x.astype('float32')", lambda: {"x": X.astype(object).astype("float32")}),
        ({"x": X, "y": [[0], [1], [2], [0]]}, "y.ravel()", lambda: {"x": X, "y": np.array([[0], [1]] * 2).ravel()}),
    ],
    ids=["members", "one-hot", "floats", "one input", "numbers", "objects", "column"],
)
def test_what_is_wrong_with_an_array(
    http: httpx.Client, bad: dict[str, np.ndarray], remedy: str, good: Callable[[], dict[str, np.ndarray]]
) -> None:
    document = refused(taken_in(http, "datasets", npz(**bad)), Problem.INVALID_DATASET)
    assert remedy in document["detail"]
    ready(http, "datasets", npz(**good()))


@obeys(Problem.SHAPE_MISMATCH)
def test_channels_last_images_are_transposed(http: httpx.Client) -> None:
    """Reshaped, as the remedy once said, three in four are right. The truth is the file with channels first."""
    model = ready(http, "models", acceptance.real("rgb.onnx").read_bytes(), input=RGB)
    last, first = (np.load(acceptance.real(f"rgb_{order}.npz")) for order in ("nhwc", "nchw"))
    document = refused(
        certify(http, model, ready(http, "datasets", npz(x=last["x"], y=last["y"]))), Problem.SHAPE_MISMATCH
    )
    x = rearranged(document["remedy"], last["x"])
    assert np.array_equal(x, first["x"])
    job = ended(http, certify(http, model, ready(http, "datasets", npz(x=x, y=last["y"]))))
    assert job["state"] == "succeeded" and job["summary"]["accuracy"] == 1


def test_channels_last_inputs_of_a_request_are_transposed(http: httpx.Client) -> None:
    model = ready(http, "models", acceptance.real("rgb.onnx").read_bytes(), input=RGB)
    last = np.load(acceptance.real("rgb_nhwc.npz"))
    body = {"model_id": model, "method": SMOOTHING, "labels": last["y"].tolist(), "inputs": last["x"].tolist()}
    document = refused(http.post("/v1/certifications", json=body), Problem.INVALID_REQUEST)
    body["inputs"] = rearranged(document["errors"][0]["message"], last["x"]).tolist()
    answer = http.post("/v1/certifications", json=body | {"method": LIPSCHITZ})
    assert ended(http, answer)["summary"]["accuracy"] == 1


@pytest.mark.parametrize(
    "options",
    [[], ["--mean", "0.1,0.1,0.1"], ["--shape", "3,8,8"]],
    ids=["no shape", "a mean a channel", "the shape of the model"],
)
def test_channels_last_files_of_a_command(service: Service, tmp_path: Path, options: list[str]) -> None:
    """Where no shape is given it is guessed from the data."""
    model, data = acceptance.real("rgb.onnx"), acceptance.real("rgb_nhwc.npz")

    def command(file: Path) -> subprocess.CompletedProcess[str]:
        line = [
            sys.executable,
            "-m",
            "radii.cli",
            "certify",
            str(model),
            str(file),
            "--method",
            "lipschitz",
            "--json",
            *options,
        ]
        environment = service.environment() | {"COLUMNS": "1000"}
        return subprocess.run(line, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    done = command(data)
    assert done.returncode == 1
    x = rearranged(done.stderr, np.load(data)["x"])
    np.savez(tmp_path / "rgb.npz", x=x, y=np.load(data)["y"])
    done = command(tmp_path / "rgb.npz")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["summary"]["accuracy"] == 1


@obeys(Problem.RANGE_MISMATCH)
def test_values_are_scaled_to_what_the_network_was_trained_on(http: httpx.Client) -> None:
    """Declared as they are they would be another network's inputs."""
    model = ready(http, "models", acceptance.real("rgb.onnx").read_bytes(), input=RGB)
    data = np.load(acceptance.real("rgb_nchw.npz"))
    pixels = np.rint(data["x"] * 255).astype(np.uint8)
    document = refused(
        certify(http, model, ready(http, "datasets", npz(x=pixels, y=data["y"]))), Problem.RANGE_MISMATCH
    )
    x = rearranged(document["remedy"], pixels)
    assert x.dtype == np.float32
    job = ended(http, certify(http, model, ready(http, "datasets", npz(x=x, y=data["y"]))))
    assert job["summary"]["accuracy"] == 1


def test_a_range_that_holds_the_values_is_declared(http: httpx.Client) -> None:
    """0.1 as float32 lies above 0.1, and inside a range that ends there."""
    x = (X - 0.5) / 5
    x[0, 0] = 0.1
    dataset = ready(http, "datasets", npz(x=x))
    model = ready(http, "models", dense(), input=FLAT | {"range": [0.0, 0.05]})
    document = refused(certify(http, model, dataset), Problem.RANGE_MISMATCH)
    low, high = re.search(r"values from (\S+) to (\S+),", document["detail"]).groups()  # type: ignore[union-attr]
    model = ready(http, "models", dense(), input=FLAT | {"range": [float(low), 0.1]})
    assert float(np.float32(high)) == np.float32(0.1)
    assert certify(http, model, dataset).status_code == 202


@obeys(Problem.LABELS_OUT_OF_RANGE)
def test_labels_that_count_from_1(http: httpx.Client, model_id: str) -> None:
    y = np.array([1, 2, 3, 1])
    document = refused(certify(http, model_id, ready(http, "datasets", npz(x=X, y=y))), Problem.LABELS_OUT_OF_RANGE)
    assert "y - 1" in document["remedy"]
    assert certify(http, model_id, ready(http, "datasets", npz(x=X, y=y - 1))).status_code == 202
