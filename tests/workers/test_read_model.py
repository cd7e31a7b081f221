"""What becomes of models, good and hostile, and of the sandbox that reads them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save
from torch import nn

from models.settings import Settings
from radii.execution import executors
from radii.graph import Graph, read_onnx, to_canonical, to_module
from tests import acceptance, factories
from tests.graph.build import model, node
from tests.graph.export import export
from tests.workers.harness import EXAMPLES
from workers.causes import Lost
from workers.environment import bare_environment
from workers.intake.read_model import read_model
from workers.intake.rejected import Rejected
from workers.intake.sandbox import Sandbox
from workers.messages import NetworkFiles
from workers.runner.loaded_model import read_model as graph_of

DIGITS = (EXAMPLES / "digits.onnx").read_bytes()
GIB = 2**30


def order(file: Path, external: dict[str, Path] | None = None, **settings: Any) -> dict[str, Any]:
    return {
        "noun": "model",
        "file": str(file),
        "external_data": {name: str(path) for name, path in (external or {}).items()},
        "settings": {"input": factories.INPUT, "output": None, "labels": None} | settings,
    }


def graph_at_work(order: dict[str, Any], summary: dict[str, Any]) -> Graph:
    """As a runner reads the model that intake has found fit."""
    return graph_of(NetworkFiles(order["settings"], order["file"], order["external_data"], summary["digest"]))


def written(content: bytes, folder: Path) -> Path:
    file = folder / "upload"
    file.write_bytes(content)
    return file


def network(nodes: list[Any], weights: dict[str, Any], shape: list[Any], classes: int) -> bytes:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [shape[0], classes])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def dense(weight: Any, batch: Any = "N") -> bytes:
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)]
    return network(nodes, {"w": weight.astype(np.float32)}, [batch, weight.shape[1]], len(weight))


WIDE = {"shape": [6], "range": [-3.0, 3.0], "mean": [0.0], "std": [1.0]}
FLAT = {"shape": [6], "range": [-1.0, 1.0], "mean": [0.5], "std": [0.25]}
WEIGHT = np.random.default_rng(0).standard_normal((3, 6))


def test_the_summary_of_a_good_model(tmp_path: Path) -> None:
    summary = read_model(order(EXAMPLES / "digits.onnx", labels=[str(i) for i in range(10)]))
    assert json.loads(json.dumps(summary)) == summary
    assert (summary["input_shape"], summary["num_classes"]) == ([1, 8, 8], 10)
    assert {method["kind"]: method["applies"] for method in summary["methods"]} == {
        "smoothing": True,
        "lipschitz": True,
        "median": False,
        "local": True,
    }
    assert summary["checked"]["max_relative_difference"] < 1e-5
    assert summary["checked"]["against"].startswith("onnxruntime ")
    scaled = read_model(order(EXAMPLES / "digits.onnx", input=factories.INPUT | {"std": [0.5]}))
    assert scaled["digest"] != summary["digest"]  # another function of the client's input


def test_a_small_output_is_compared_on_its_own_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a large one, of which its error is 2e-5."""
    file = written(dense(np.array([[1000.0], [1.0]]) * WEIGHT[:1]), tmp_path)
    settings: dict[str, Any] = {"input": FLAT, "task": "regressor"}
    assert read_model(order(file, **settings))["checked"]["max_relative_difference"] < 1e-6
    healthy = sys.modules["workers.intake.read_model"]._onnxruntime

    def off(*args: Any, **options: Any) -> Any:
        return tuple(np.add(y, (0, 2e-5 * np.abs(y).max())) for y in healthy(*args, **options))

    monkeypatch.setattr("workers.intake.read_model._onnxruntime", off)
    with pytest.raises(Rejected, match=r"differ by 2.0e-04 of themselves"):
        read_model(order(file, **settings))


@pytest.mark.parametrize("batch", ["N", 1])
def test_a_regressor_may_have_one_output_and_every_executor_runs_it(batch: Any, tmp_path: Path) -> None:
    file = written(dense(WEIGHT[:1], batch), tmp_path)
    summary = read_model(order(file, input=FLAT, task="regressor"))
    assert (summary["task"], summary["num_outputs"], summary["num_classes"]) == ("regressor", 1, None)
    assert [method["kind"] for method in summary["methods"] if method["applies"]] == ["median"]
    graph = read_onnx(file.read_bytes(), task="regressor")
    x = torch.rand(5, 6)
    expected = x.double() @ torch.from_numpy(WEIGHT[:1].astype(np.float32)).double().T
    for name in executors.executors(graph, torch.device("cpu")):
        found = executors.build(name, graph, torch.device("cpu"))(x)
        assert found.shape == (5, 1) and torch.allclose(found.double(), expected, atol=1e-5)
    with pytest.raises(Rejected, match="task = regressor"):
        read_model(order(file, input=FLAT))


class Outputs(nn.Module):
    """Of a linear regressor, in another shape."""

    def __init__(self, form: Callable[[torch.Tensor], torch.Tensor], outputs: int) -> None:
        super().__init__()
        self.form, self.linear = form, nn.Linear(6, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.form(self.linear(x))


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize(
    "form, outputs",
    [(lambda y: y.squeeze(-1), 1), (lambda y: y[:, 0], 1), (lambda y: y.view(-1, 2, 4), 8)],
    ids=["squeeze", "index", "two axes"],
)
def test_the_outputs_of_a_regressor_are_taken_flat(
    form: Callable[[torch.Tensor], torch.Tensor], outputs: int, dynamo: bool, dynamic: bool, tmp_path: Path
) -> None:
    network = Outputs(form, outputs).eval()
    file = written(export(network, (6,), dynamo=dynamo, opset=18, dynamic=dynamic), tmp_path)
    summary = read_model(order(file, input=FLAT, task="regressor"))
    assert summary["num_outputs"] == outputs and summary["checked"]["max_relative_difference"] < 1e-5
    x = torch.rand(5, 6)
    with torch.inference_mode():
        ours = to_module(read_onnx(file.read_bytes(), task="regressor"))(x)
        assert torch.allclose(ours, network.linear(x), atol=1e-6)


@pytest.mark.parametrize("batch", ["N", 1])
def test_a_fixed_batch_size_is_compared_too(batch: Any, tmp_path: Path) -> None:
    summary = read_model(order(written(dense(WEIGHT, batch), tmp_path), input=FLAT))
    assert summary["checked"]["max_relative_difference"] < 1e-5


@pytest.mark.parametrize("batch", ["N", 1])
def test_a_batch_that_leaves_the_first_axis_is_compared_too(batch: Any, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["w", "t"], ["u"]),
        helper.make_node("Transpose", ["u"], ["v"], perm=[1, 0]),
        helper.make_node("Squeeze", ["v"], ["y"]),  # of a single input it leaves (3,)
    ]
    content = network(nodes, {"w": WEIGHT.astype(np.float32)}, [batch, 6], 3)
    summary = read_model(order(written(content, tmp_path), input=FLAT))
    assert summary["checked"]["max_relative_difference"] < 1e-5
    assert summary["num_classes"] == 3


def test_what_mixes_the_batch_is_refused_unless_it_is_fixed(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], transB=1),
        helper.make_node("ReduceMean", ["h"], ["m"], axes=[0]),
        helper.make_node("Mul", ["h", "m"], ["y"]),
    ]
    with pytest.raises(Rejected, match="along the batch axis") as refusal:
        read_model(order(written(network(nodes, {"w": WEIGHT.astype(np.float32)}, ["N", 6], 3), tmp_path), input=FLAT))
    assert "other inputs of its batch" in refusal.value.document["obstacles"][-1]["reason"]
    summary = read_model(
        order(written(network(nodes, {"w": WEIGHT.astype(np.float32)}, [1, 6], 3), tmp_path), input=FLAT)
    )
    assert summary["checked"]["max_relative_difference"] < 1e-5


def test_weights_may_lie_in_a_second_file(tmp_path: Path) -> None:
    model = onnx.load_from_string(dense(WEIGHT))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    blob = (tmp_path / "m.data").rename(tmp_path / "blob")  # found by the name it is given, never as a path
    summary = read_model(order(tmp_path / "m.onnx", {"m.data": blob}, input=FLAT))
    assert summary["digest"] == read_model(order(written(dense(WEIGHT), tmp_path), input=FLAT))["digest"]
    with pytest.raises(Rejected) as refusal:
        read_model(order(tmp_path / "m.onnx", input=FLAT))
    assert "m.data" in refusal.value.document["detail"]


CHECKED = {"against": "batch independence and finite outputs", "max_relative_difference": None, "inputs": 8}


def test_a_graph_json_is_the_model_it_was_written_from(tmp_path: Path) -> None:
    form, weights = to_canonical(read_onnx(DIGITS))
    (tmp_path / "weights").write_bytes(weights)
    what = order(written(form, tmp_path), {"weights.safetensors": tmp_path / "weights"})
    summary = read_model(what)
    assert summary["digest"] == read_model(order(EXAMPLES / "digits.onnx"))["digest"]
    assert summary["checked"] == CHECKED
    assert graph_at_work(what, summary).digest == summary["digest"]
    with pytest.raises(Rejected) as refusal:
        read_model(order(written(form, tmp_path)))
    assert "weights.safetensors" in refusal.value.document["detail"]


def test_weights_of_a_named_architecture(tmp_path: Path) -> None:
    content = save({"1.weight": torch.from_numpy(WEIGHT.astype(np.float32)), "1.bias": torch.zeros(3)})
    mlp = {"name": "mlp", "parameters": {"hidden": [3], "num_classes": 2}}
    with pytest.raises(Rejected) as refusal:
        read_model(order(written(content, tmp_path), input=FLAT, architecture=mlp))
    missing = [obstacle["reason"] for obstacle in refusal.value.document["obstacles"]]
    assert missing == [
        "the tensor '3.weight' of shape [2, 3] is missing",
        "the tensor '3.bias' of shape [2] is missing",
    ]
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    what = order(written(save(network.state_dict()), tmp_path), input=FLAT, architecture=mlp)
    summary = read_model(what)
    assert (summary["num_classes"], summary["checked"]) == (2, CHECKED)
    assert graph_at_work(what, summary).digest == summary["digest"]


@pytest.mark.parametrize("name", ["f16s.onnx", "f16k.onnx"])
def test_float16_is_read_and_its_rounding_is_no_bug(name: str) -> None:
    """The network is that of its weights, in float32: numpy's. Of onnxruntime, which rounds, it differs by that."""
    file = acceptance.real(name)
    summary = read_model(order(file, input=WIDE))
    assert [method["kind"] for method in summary["methods"] if method["applies"]] == ["smoothing", "lipschitz", "local"]
    assert "float16" in summary["checked"]["against"]
    (weight,) = onnx.load(file).graph.initializer
    x = np.random.default_rng(0).uniform(-3, 3, (5, 6)).astype(np.float32)
    expected = x.astype(np.float64) @ numpy_helper.to_array(weight).astype(np.float64)
    found = to_module(read_onnx(file.read_bytes()))(torch.from_numpy(x)).numpy()
    assert np.abs(found - expected).max() < 1e-5


def test_a_network_that_float16_can_not_run_is_refused_with_the_remedy() -> None:
    """The network sees numbers of 100,000; float16 ends at 65,504."""
    with pytest.raises(Rejected) as refusal:
        read_model(order(acceptance.real("f16s.onnx"), input=WIDE | {"mean": [-1e5]}))
    document = json.dumps(refusal.value.document)
    assert "float16" in document and "model.float()" in document and "report" not in document


@pytest.mark.parametrize("version", [13, 14])
def test_the_file_format_that_onnx_writes_today_is_read(version: int, tmp_path: Path) -> None:
    """onnxruntime reads it up to 13: what 14 adds are types of six bits."""
    proto = onnx.ModelProto.FromString(dense(WEIGHT))
    proto.ir_version = version
    summary = read_model(order(written(proto.SerializeToString(), tmp_path), input=FLAT))
    assert summary["checked"]["max_relative_difference"] < 1e-5
    assert summary["digest"] == read_model(order(written(dense(WEIGHT), tmp_path), input=FLAT))["digest"]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("dyn_hw", [3, 7, 9]),
        ("keras_jax_ln", [16, 16, 3]),
        ("matmul_vector", [5, 4]),
        ("no_batch_axis", [4]),
        ("open_pixels", [3, 9, 7]),
        ("opset_twice_same", [4]),
        ("out_N211", [3, 8, 8]),
        ("weight_dq", [3, 4, 4]),
    ],
)
def test_what_was_once_refused_without_need_is_taken_in(name: str, shape: list[int]) -> None:
    what = order(acceptance.real(f"{name}.onnx"), input=WIDE | {"shape": shape})
    summary = read_model(what)
    assert summary["input_shape"] == shape and summary["checked"]["max_relative_difference"] < 1e-5
    assert graph_at_work(what, summary).digest == summary["digest"]


@pytest.mark.parametrize("end", ["Sigmoid", "Identity"])
def test_one_logit_or_its_sigmoid_is_taken_in_as_two_classes(end: str, tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node(end, ["m"], ["y"])]
    file = written(network(nodes, {"w": 9 * WEIGHT[:1].T.astype(np.float32)}, ["N", 6], 1), tmp_path)
    what = order(file, input=WIDE, task="binary", labels=["no", "yes"])
    summary = read_model(what)
    assert (summary["task"], summary["num_classes"], summary["num_outputs"]) == ("binary", 2, None)
    assert [method["kind"] for method in summary["methods"] if method["applies"]] == ["smoothing", "lipschitz", "local"]
    assert summary["checked"]["max_relative_difference"] < 1e-5
    assert graph_at_work(what, summary).digest == summary["digest"]


SPELLED = {
    "logistic": [
        node("Neg", ["z"], "n"),
        node("Exp", ["n"], "e"),
        node("Add", ["e", "one"], "d"),
        node("Div", ["one", "d"]),
    ],
    "tanh": [node("Tanh", ["z"], "t"), node("Mul", ["t", "half"], "m"), node("Add", ["m", "half"])],
    "hard": [node("HardSigmoid", ["z"])],
}


@pytest.mark.parametrize("spelled", SPELLED)
def test_a_probability_that_is_not_told_is_no_logit(spelled: str, tmp_path: Path) -> None:
    """It exceeds 0, and would be of class 1, at every input."""
    weight = np.full((4, 1), 0.25, np.float32)
    numbers = {"w": weight, "one": np.ones(1, np.float32), "half": np.full(1, 0.5, np.float32)}
    file = written(model([node("MatMul", ["x", "w"], "z"), *SPELLED[spelled]], (4,), numbers), tmp_path)
    wide = factories.INPUT | {"shape": [4]}
    with pytest.raises(Rejected, match="as probabilities do"):
        read_model(order(file, input=wide, task="binary"))
    logits = written(model([node("MatMul", ["x", "w"], "z"), node("Mul", ["z", "half"])], (4,), numbers), tmp_path)
    assert read_model(order(logits, input=wide, task="binary"))["num_classes"] == 2  # between 0 and 1, too


@pytest.mark.parametrize("batch", [-1, 0])
def test_a_batch_that_is_not_positive_is_open(batch: int, tmp_path: Path) -> None:
    summary = read_model(order(written(dense(WEIGHT, batch), tmp_path), input=FLAT))
    assert summary["checked"]["max_relative_difference"] < 1e-5
    assert summary["digest"] == read_model(order(written(dense(WEIGHT), tmp_path), input=FLAT))["digest"]


def test_what_onnxruntime_says_keeps_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands at the end, behind a line of its source."""
    monkeypatch.setattr("workers.intake.read_model.IR_VERSION", 14)
    proto = onnx.ModelProto.FromString(dense(WEIGHT))
    proto.ir_version = 14
    with pytest.raises(Rejected, match="Unsupported model IR version: 14, max supported IR version: 13"):
        read_model(order(written(proto.SerializeToString(), tmp_path), input=FLAT))


@pytest.mark.parametrize(
    ("declared", "remedy"),
    [
        ([8, 8, 3], "x = x.transpose(0, 3, 1, 2)"),
        ([192], "x = x.reshape(len(x), 3, 8, 8)"),
        ([3, 32, 32], "or export it for [3, 32, 32]"),
    ],
)
def test_a_declared_shape_that_is_another_comes_with_what_makes_the_data_fit(declared: list[int], remedy: str) -> None:
    with pytest.raises(Rejected) as refusal:
        read_model(order(acceptance.real("rgb.onnx"), input=factories.INPUT | {"shape": declared}))
    (obstacle,) = refusal.value.document["obstacles"]
    assert "Register it with input.shape = [3, 8, 8]" in obstacle["remedy"] and remedy in obstacle["remedy"]


NAN = np.where(np.eye(3, 6) > 0, np.nan, WEIGHT)
SINE = network([helper.make_node("Celu", ["x"], ["y"]), helper.make_node("Unknown", ["y"], ["z"])], {}, ["N", 6], 6)


@pytest.mark.parametrize(
    ("content", "settings", "words"),
    [
        (b"", {}, ["file"]),
        (b"\x80\x04\x95pickle", {}, ["torch.onnx.export"]),
        (b"PK\x03\x04", {}, ["torch.onnx.export"]),
        (os.urandom(500), {}, []),
        (DIGITS[: len(DIGITS) // 2], {}, []),
        (DIGITS, {"labels": ["a", "b"]}, ["10 classes", "2 labels"]),
        (DIGITS, {"input": factories.INPUT | {"shape": [3, 32, 32]}}, ["[1, 8, 8]", "[3, 32, 32]"]),
        (DIGITS, {"input": factories.INPUT | {"mean": [0.5, 0.5, 0.5]}}, ["mean"]),
        (DIGITS, {"output": "nothing"}, ["logits"]),
        (dense(NAN), {"input": FLAT}, ["finite"]),
        (dense(1e38 * np.sign(WEIGHT)), {"input": FLAT}, ["not finite", "[-1.0, 1.0]"]),
    ],
)
def test_what_is_wrong_is_refused_in_words(
    content: bytes, settings: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(Rejected) as refusal:
        read_model(order(written(content, tmp_path), **settings))
    document = refusal.value.document
    assert document["type"] == "/problems/unsupported-model"
    assert document["obstacles"] and all(o["reason"] and o["remedy"] for o in document["obstacles"])
    for word in words:
        assert word in json.dumps(document)


def run(order: dict[str, Any], folder: Path, settings: Settings) -> tuple[dict[str, Any] | None, int]:
    """The sandbox's answer and exit status."""
    folder.mkdir()
    sandbox = Sandbox(folder, order, settings)
    try:
        sandbox.inbox.get(timeout=60)
    finally:
        sandbox.kill()
    return sandbox.answer(late=False), sandbox.process.returncode


def slow_network() -> bytes:
    """A file of 150 kB that takes a minute of computing."""
    weight = np.random.default_rng(0).standard_normal((64, 64, 3, 3)).astype(np.float32) / 24
    nodes = [helper.make_node("Conv", [f"h{i}" if i else "x", "w"], [f"h{i + 1}"], pads=[1] * 4) for i in range(40)]
    nodes += [helper.make_node("GlobalAveragePool", ["h40"], ["p"]), helper.make_node("Flatten", ["p"], ["y"])]
    return network(nodes, {"w": weight}, ["N", 64, 128, 128], 64)


def test_computing_without_end_meets_the_cpu_limit(tmp_path: Path) -> None:
    content = slow_network()
    inputs = {"shape": [64, 128, 128], "range": [0.0, 1.0], "mean": [0.0], "std": [1.0]}
    answer, status = run(order(written(content, tmp_path), input=inputs), tmp_path / "s", Settings(intake_seconds=2))
    assert status == -signal.SIGXCPU
    assert answer is not None and answer["problem"]["type"] == "/problems/intake-limit"


def test_a_file_that_needs_more_memory_than_allowed_meets_that_limit(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 2**21, dtype=np.uint8)
    x = np.concatenate([noise, np.zeros(298 * 2**20, np.uint8)])  # one input; zeros alone would be a zip bomb
    np.savez_compressed(tmp_path / "d.npz", x=x[None])
    what = {"noun": "dataset", "file": str(tmp_path / "d.npz"), "max_dataset_bytes": 4 * GIB}
    answer, status = run(what, tmp_path / "s", Settings(intake_memory_bytes=GIB))
    assert status == 0
    assert answer is not None and answer["problem"]["type"] == "/problems/intake-limit"


def test_a_limit_can_not_be_raised_again_and_no_secret_is_in_reach() -> None:
    code = """
import os, resource, sys
from workers.confine import confine
confine(cpu_seconds=9, memory_bytes=2**30, file_bytes=1000)
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
assert resource.getrlimit(resource.RLIMIT_AS) == (2**30, 2**30)
assert resource.getrlimit(resource.RLIMIT_FSIZE) == (1000, 1000)
assert not [name for name in os.environ if name.startswith("RADII_")]
"""
    os.environ["RADII_NOISE_SECRET"] = "5e" * 32
    try:
        subprocess.run([sys.executable, "-c", code], env=bare_environment(), check=True)
    finally:
        del os.environ["RADII_NOISE_SECRET"]


def test_what_crashes_has_no_answer(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    os.mkfifo(tmp_path / "fifo")  # nobody writes: it waits until it is killed
    sandbox = Sandbox(tmp_path / "s", order(tmp_path / "fifo"), Settings())
    os.kill(sandbox.process.pid, signal.SIGSEGV)
    sandbox.inbox.get(timeout=60)
    with pytest.raises(Lost, match="was killed by SIGSEGV while reading the upload"):
        sandbox.answer(late=False)
    answer = sandbox.answer(late=True)
    assert answer is not None and answer["problem"]["type"] == "/problems/intake-limit"
