"""`radii inspect`: no service is needed."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.torch import save_file
from torch import nn

from radii.graph import read_onnx, to_canonical
from tests.graph.build import model, node
from tests.graph.export import export
from tests.graph.networks import trained

DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.onnx"


def inspect(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "radii.cli", "inspect", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={"COLUMNS": "200"})


def test_a_network_is_explained(tmp_path: Path) -> None:
    answer = inspect(str(DIGITS))
    assert answer.returncode == 0, answer.stderr
    for words in ("Conv", "16 x 4 x 4", "38,282", "218,880", "4,096 bytes", read_onnx(DIGITS.read_bytes()).digest):
        assert words in answer.stdout
    found = json.loads(inspect(str(DIGITS), "--json").stdout)
    assert found["supported"] and found["flops"] == 2 * found["multiply_adds"] == 218_880
    assert [method["kind"] for method in found["methods"] if method["applies"]] == ["smoothing", "lipschitz", "local"]
    assert (found["task"], found["num_classes"], found["num_outputs"]) == ("classifier", 10, None)

    form, weights = to_canonical(read_onnx(DIGITS.read_bytes()))
    (tmp_path / "graph.json").write_bytes(form)
    assert "weights.safetensors" in inspect(str(tmp_path / "graph.json")).stderr
    (tmp_path / "weights.safetensors").write_bytes(weights)
    again = json.loads(inspect(str(tmp_path / "graph.json"), "--json").stdout)
    assert again["digest"] == found["digest"]


def test_what_blocks_a_method_and_what_would_lift_it(tmp_path: Path) -> None:
    file = tmp_path / "gate.onnx"
    file.write_bytes(model([node("Relu", ["x"], "r"), node("Mul", ["x", "r"], "m"), node("Flatten", ["m"])], (6,)))
    answer = inspect(str(file))
    assert answer.returncode == 0
    for words in ("does not apply", "Mul", "multiplies two activations", "Use smoothing"):
        assert words in answer.stdout
    assert "What stands against local" not in answer.stdout
    file.write_bytes(model([node("Sin", ["x"], "s"), node("Flatten", ["s"])], (6,)))
    [local] = [one for one in json.loads(inspect(str(file), "--json").stdout)["methods"] if one["kind"] == "local"]
    assert not local["applies"] and local["reasons"][0]["operator"] == "Sin"


def test_a_regressor_and_a_denoiser_are_read_as_such(tmp_path: Path) -> None:
    file = tmp_path / "one.onnx"
    file.write_bytes(model([node("Gemm", ["x", "w"])], (6,), {"w": np.ones((6, 1), np.float32)}))
    assert "task = regressor" in " ".join(inspect(str(file)).stderr.split())
    found = json.loads(inspect(str(file), "--task", "regressor", "--json").stdout)
    assert (found["task"], found["num_classes"], found["num_outputs"]) == ("regressor", None, 1)
    assert [method["kind"] for method in found["methods"] if method["applies"]] == ["median"]
    shown = inspect(str(file), "--task", "regressor").stdout
    assert re.search(r"outputs +1\b", shown) and "a regressor has no classes. Ask for its median" in shown
    assert "see below" not in shown and "What stands against" not in shown

    file.write_bytes(model([node("Gemm", ["x", "w"])], (1,), {"w": np.ones((1, 4097), np.float32)}))
    found = json.loads(inspect(str(file), "--task", "regressor", "--json").stdout)
    assert not found["methods"][2]["applies"] and "4097 outputs" in found["methods"][2]["reasons"][0]["reason"]

    file.write_bytes(model([node("Neg", ["x"])], (6,)))
    shown = inspect(str(file), "--task", "denoiser").stdout
    assert "classes" not in shown and shown.count("Name it as denoiser_model_id") == 4
    assert inspect(str(file), "--task", "upscaler").returncode == 2

    (tmp_path / "graph.json").write_bytes(b'{"format": 1}')
    answer = inspect(str(tmp_path / "graph.json"), "--task", "regressor")
    assert answer.returncode == 1 and "a regressor is taken as ONNX alone" in answer.stderr


def test_every_obstacle_is_in_the_table(tmp_path: Path) -> None:
    file = tmp_path / "bad.onnx"
    file.write_bytes(model([node("LSTM", ["x"], "a"), node("Scan2000", ["x"], "b"), node("Add", ["a", "b"])], (6,)))
    answer = inspect(str(file))
    assert (answer.returncode, answer.stdout) == (1, "")
    for words in ("can't be certified", "LSTM", "recurrent", "Scan2000"):
        assert words in answer.stderr
    answer = inspect(str(file), "--json")
    assert answer.returncode == 1
    found = json.loads(answer.stdout)
    assert not found["supported"]
    assert [(obstacle["node"], obstacle["operator"]) for obstacle in found["obstacles"]] == [
        (0, "LSTM"),
        (1, "Scan2000"),
    ]


def test_weights_beside_the_file_are_found_and_others_can_be_named(tmp_path: Path) -> None:
    file = tmp_path / "vgg.onnx"
    export(trained("vgg"), (3, 32, 32), dynamo=True, opset=20, dynamic=True, file=file)
    assert inspect(str(file)).returncode == 0
    weights = (tmp_path / "vgg.onnx.data").rename(tmp_path / "elsewhere")
    assert "vgg.onnx.data" in inspect(str(file)).stderr
    proto = onnx.load(file, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "elsewhere"
    file.write_bytes(proto.SerializeToString())
    assert inspect(str(file), "--external-data", str(weights)).returncode == 0


def test_weights_of_an_architecture(tmp_path: Path) -> None:
    file = tmp_path / "mlp.safetensors"
    save_file(nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 10)).state_dict(), file)
    mlp = ("--architecture", 'mlp:{"hidden": [8]}')
    assert "Gemm" in inspect(str(file), *mlp, "--shape", "4").stdout
    answer = inspect(str(file), *mlp)
    assert answer.returncode == 2 and "--shape" in answer.stderr
    answer = inspect(str(file), "--architecture", "mlp", "--shape", "4")
    assert answer.returncode == 1 and "'1.weight'" in answer.stderr


@pytest.mark.parametrize("text", ["lenet", "mlp:{", 'mlp:{"hidden": [0]}'])
def test_an_architecture_that_can_not_be(text: str) -> None:
    answer = inspect(str(DIGITS), "--architecture", text)
    assert answer.returncode == 2
    assert "e.g. resnet" in answer.stderr


def test_without_torch_it_says_so() -> None:
    code = """
import sys
sys.modules["torch"] = None  # as if it were not installed
sys.argv = ["radii", "inspect", sys.argv[1]]
from radii.cli import main
main()
"""
    answer = subprocess.run([sys.executable, "-c", code, str(DIGITS)], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 1
    assert "pip install 'radii[torch]'" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_shape_that_is_not_the_file_s_is_refused_and_the_remedy_works() -> None:
    answer = inspect(str(DIGITS), "--shape", "64")
    words = " ".join(answer.stderr.split())
    assert answer.returncode == 1 and "takes inputs of shape [1, 8, 8], declared was [64]" in words
    assert "Leave --shape out" in words and inspect(str(DIGITS)).returncode == 0
    assert inspect(str(DIGITS), "--shape", "1,8,8").returncode == 0


def test_a_network_of_indices_is_told_where_to_begin(tmp_path: Path) -> None:
    file = tmp_path / "tokens.onnx"
    made = onnx.load_from_string(model([node("Gather", ["w", "x"])], (6,), {"w": np.ones((4, 3), np.float32)}))
    made.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    onnx.save(made, file)
    assert "what follows its embedding" in " ".join(inspect(str(file)).stderr.split())
