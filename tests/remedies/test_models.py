"""Model files that are refused, and what their owners are told to do."""

import gzip
import json
import pickle
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest

from models.problems import Problem
from tests import acceptance
from tests.graph.build import model, node
from tests.remedies.files import FLAT, RGB, WEIGHT, dense, inputs, npz, two_outputs, weights_elsewhere
from tests.remedies.obey import ended, in_python, obeys, ready, rearranged, refused, register, taken_in

NETWORK = """
import torch
model = torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.ReLU())
example_input = torch.zeros(1, 6)
"""


def obstacle(http: httpx.Client, content: bytes, **fields: Any) -> dict[str, Any]:
    """The only one that stands in the way."""
    resource = taken_in(http, "models", content, **{"input": FLAT} | fields)
    (found,) = refused(resource, Problem.UNSUPPORTED_MODEL)["obstacles"]
    return dict(found)


@obeys(Problem.UNSUPPORTED_MODEL_FORMAT)
@pytest.mark.parametrize(
    "content", [pickle.dumps({"weights": [1.0]}), b"PK\x03\x04" + bytes(60)], ids=["pickle", "zip"]
)
def test_convert_it_by_the_line_of_the_answer(http: httpx.Client, tmp_path: Path, content: bytes) -> None:
    document = refused(register(http, "models", content, input=FLAT), Problem.UNSUPPORTED_MODEL_FORMAT)
    assert document["convert"] in document["detail"]
    in_python(NETWORK + document["convert"], tmp_path)
    ready(http, "models", (tmp_path / "model.onnx").read_bytes(), input=FLAT)


def test_convert_it_by_the_line_of_the_remedy(http: httpx.Client, tmp_path: Path) -> None:
    line = re.search(r"torch\.onnx\.export\(.*?\)(?=\.)", Problem.UNSUPPORTED_MODEL_FORMAT.remedy)[0]  # type: ignore[index]
    in_python(f"{NETWORK}\n{line}", tmp_path)
    ready(http, "models", (tmp_path / "model.onnx").read_bytes(), input=FLAT)


def test_unpack_what_is_compressed(http: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "model.onnx.gz").write_bytes(gzip.compress(dense()))
    answer = register(http, "models", (tmp_path / "model.onnx.gz").read_bytes(), input=FLAT)
    document = refused(answer, Problem.UNSUPPORTED_MODEL_FORMAT)
    subprocess.run(document["convert"].split(), cwd=tmp_path, check=True)
    ready(http, "models", (tmp_path / "model.onnx").read_bytes(), input=FLAT)


@obeys(Problem.UNSUPPORTED_MODEL)
def test_name_one_of_several_outputs(http: httpx.Client) -> None:
    said = obstacle(http, two_outputs())["remedy"]
    assert re.findall(r"'(\w+)'", said) == ["logits", "value"]
    ready(http, "models", two_outputs(), input=FLAT, output="logits")


def test_give_the_file_with_the_weights(http: httpx.Client) -> None:
    graph, weights = weights_elsewhere()
    name = re.search(r"external_data=\{'([^']+)'", obstacle(http, graph)["remedy"])[1]  # type: ignore[index]
    upload = http.post("/v1/uploads", content=weights).json()["id"]
    ready(http, "models", graph, input=FLAT, external_data={name: upload})


def test_export_with_the_weights_inside(http: httpx.Client, tmp_path: Path) -> None:
    export = "torch.onnx.export(model, (example_input,), 'model.onnx', verbose=False{})"
    in_python(NETWORK.replace("6, 3", "6, 300") + export.format(""), tmp_path)
    said = obstacle(http, (tmp_path / "model.onnx").read_bytes())["remedy"]
    option = re.search(r"external_data=False", said)[0]  # type: ignore[index]
    in_python(NETWORK.replace("6, 3", "6, 300") + export.format(f", {option}"), tmp_path)
    ready(http, "models", (tmp_path / "model.onnx").read_bytes(), input=FLAT)


@pytest.mark.parametrize("version", [7, 27, 28])
def test_export_for_an_opset_that_is_read(http: httpx.Client, tmp_path: Path, version: int) -> None:
    said = obstacle(http, dense(opset=version))["remedy"]
    option = re.search(r"opset_version=\d+", said)[0]  # type: ignore[index]
    line = f"torch.onnx.export(model, (example_input,), 'model.onnx', external_data=False, {option})"
    in_python(f"{NETWORK}\n{line}", tmp_path)
    ready(http, "models", (tmp_path / "model.onnx").read_bytes(), input=FLAT)


def test_save_it_with_an_older_ir_version(http: httpx.Client, tmp_path: Path) -> None:
    proto = onnx.ModelProto.FromString(dense())
    proto.ir_version = 15
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    said = obstacle(http, proto.SerializeToString())["remedy"]
    line = re.search(r"model = onnx.*\)", said)[0]  # type: ignore[index]
    in_python(f"import onnx; FILE = 'm.onnx'; {line}", tmp_path)
    ready(http, "models", (tmp_path / "m.onnx").read_bytes(), input=FLAT)


@pytest.mark.parametrize("batch", ["batch", 1])
def test_export_with_another_batch(http: httpx.Client, batch: str | int) -> None:
    assert "dynamic batch axis, or with a batch of 1" in obstacle(http, dense(batch=8))["remedy"]
    ready(http, "models", dense(batch=batch), input=FLAT)


def test_register_it_with_the_shape_that_it_has(http: httpx.Client) -> None:
    """And with data of that shape: the right images, not other ones."""
    content, data = acceptance.real("rgb.onnx").read_bytes(), np.load(acceptance.real("rgb_nhwc.npz"))
    said = obstacle(http, content, input=RGB | {"shape": [8, 8, 3]})["remedy"]
    shape = json.loads(re.search(r"input\.shape = (\[.*?\])", said)[1])  # type: ignore[index]
    body = {
        "model_id": ready(http, "models", content, input=RGB | {"shape": shape}),
        "dataset_id": ready(http, "datasets", npz(x=rearranged(said, data["x"]), y=data["y"])),
        "method": {"kind": "lipschitz"},
    }
    assert ended(http, http.post("/v1/certifications", json=body))["summary"]["accuracy"] == 1


def test_give_as_many_labels_as_classes(http: httpx.Client) -> None:
    count = re.search(r"Give (\d+) labels", obstacle(http, dense(), labels=["a", "b"])["remedy"])[1]  # type: ignore[index]
    ready(http, "models", dense(), input=FLAT, labels=[f"class {i}" for i in range(int(count))])


def test_export_in_float32_what_float16_can_not_run(http: httpx.Client) -> None:
    """The network sees numbers of 100,000; float16 ends at 65,504."""
    far = FLAT | {"mean": -1e5}
    assert "Export it in float32" in obstacle(http, acceptance.real("f16s.onnx").read_bytes(), input=far)["remedy"]
    ready(http, "models", dense(), input=far)


def test_correct_a_mean_that_is_not_one_a_channel(http: httpx.Client) -> None:
    """Of channels-last images the first axis is not that of the channels."""
    content = acceptance.real("rgb.onnx").read_bytes()
    answer = register(http, "models", content, input=RGB | {"shape": [8, 8, 3], "mean": [0.1, 0.1, 0.1]})
    said = refused(answer, Problem.INVALID_REQUEST)["errors"][0]["message"]
    shape = json.loads(re.search(r"takes (\[.*?\])", said)[1])  # type: ignore[index]
    last = np.load(acceptance.real("rgb_nhwc.npz"))["x"]
    assert rearranged(said, last).shape[1:] == tuple(shape)
    ready(http, "models", content, input=RGB | {"shape": shape, "mean": [0.1, 0.1, 0.1]})


@obeys(Problem.REJECTED)
def test_upload_a_corrected_file(http: httpx.Client, dataset_id: str) -> None:
    bad = taken_in(http, "models", dense(batch=8), input=FLAT)["id"]
    ask = {"dataset_id": dataset_id, "method": {"kind": "lipschitz"}}
    document = refused(http.post("/v1/certifications", json=ask | {"model_id": bad}), Problem.REJECTED)
    assert "Its own page says why" in document["remedy"]
    assert http.get(f"/v1/models/{bad}").json()["problem"] == document["cause"]
    good = ready(http, "models", dense(), input=FLAT)
    assert http.post("/v1/certifications", json=ask | {"model_id": good}).status_code == 202


@obeys(Problem.METHOD_NOT_APPLICABLE)
def test_take_a_method_that_applies(http: httpx.Client) -> None:
    squares = model([node("Mul", ["x", "x"], "s"), node("MatMul", ["s", "w"])], (6,), {"w": WEIGHT})
    body = {"model_id": ready(http, "models", squares, input=FLAT), "inputs": inputs().tolist()}
    answer = http.post("/v1/certifications", json=body | {"method": {"kind": "lipschitz"}})
    document = refused(answer, Problem.METHOD_NOT_APPLICABLE)
    assert document["reasons"] and "the model's page says which methods apply" in document["remedy"]
    listed = http.get(f"/v1/models/{body['model_id']}").json()["summary"]["methods"]
    applies = [method["kind"] for method in listed if method["applies"]]
    assert applies == ["smoothing", "local"]
    answer = http.post("/v1/certifications", json=body | {"method": {"kind": "local"}})
    assert answer.status_code == 202


def test_one_sigmoid_is_a_binary_classifier(http: httpx.Client) -> None:
    """Registered with the task of the remedy, every method of classifiers answers; the bound as by hand."""
    content, wide = acceptance.real("one_sigmoid.onnx").read_bytes(), {"shape": [4], "range": [0.0, 1.0]}
    task = re.search(r"\(task = (\w+)\)", obstacle(http, content, input=wide)["remedy"])[1]  # type: ignore[index]
    (tensor,) = onnx.load(acceptance.real("one_sigmoid.onnx")).graph.initializer
    weight = onnx.numpy_helper.to_array(tensor)[:, 0]
    x = (np.random.default_rng(2).integers(0, 256, (4, 4)) / 255).astype(np.float32)  # which splitting needs
    labels = (x @ weight > 0).astype(int).tolist()
    body = {"model_id": ready(http, "models", content, input=wide, task=task), "inputs": x.tolist(), "labels": labels}
    exact = np.abs(x @ weight) / np.linalg.norm(weight)
    for method in (
        {"kind": "lipschitz"},
        {"kind": "splitting", "sigma": 0.25},
        {"kind": "smoothing", "sigma": 0.1, "n": 1000},
        {"kind": "prediction", "sigma": 0.1},
    ):
        job = ended(http, http.post("/v1/certifications", json=body | {"method": method}))
        assert job["state"] == "succeeded" and job["problem"] is None, method
        results = http.get(f"/v1/certifications/{job['id']}/results").json()["items"]
        assert [row["prediction"] in (0, 1, None) for row in results] == [True] * 4
        if method["kind"] == "lipschitz":
            assert [row["prediction"] for row in results] == labels
            assert [row["radius"] for row in results] == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("name", ["f16s.onnx", "f16k.onnx"])
def test_float16_needs_no_remedy(http: httpx.Client, name: str) -> None:
    """Smoothing and the bound work; on all four inputs the network is right."""
    data = acceptance.real("f16.npz").read_bytes()
    wide = FLAT | {"range": [-3.0, 3.0]}
    body = {
        "model_id": ready(http, "models", acceptance.real(name).read_bytes(), input=wide),
        "dataset_id": ready(http, "datasets", data),
    }
    for method in ({"kind": "lipschitz"}, {"kind": "smoothing", "sigma": 0.1, "n": 1000}):
        job = ended(http, http.post("/v1/certifications", json=body | {"method": method}))
        assert job["state"] == "succeeded" and job["problem"] is None
