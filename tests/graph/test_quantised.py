"""QDQ files, as quantize_static writes them, run as onnxruntime's integer kernels run them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic

from radii.graph import UnsupportedModel, from_canonical, methods, read_onnx, to_canonical, to_module
from radii.graph.ops.integers import IntegerConv, IntegerLinear
from radii.lipschitz import UnboundedModel, network_bound
from tests.graph.build import model, node
from tests.graph.quantised import (
    I8,
    U8,
    between,
    examples,
    in_floats,
    in_integers,
    many,
    noisy,
    perceptron,
    quantised,
    residual,
    weights,
)

NETWORKS: dict[str, Callable[[], bytes]] = {
    "MatMul": lambda: perceptron("MatMul", 13),
    "Gemm": lambda: perceptron("Gemm", 13),
    "residual": lambda: residual(13),
    "many": lambda: many(18),
}
KINDS = {"uint8, uint8": (U8, U8), "uint8, int8": (U8, I8), "int8, int8": (I8, I8)}


def ours(data: bytes, x: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        made: np.ndarray = to_module(read_onnx(data))(torch.from_numpy(x)).numpy()
    return made


VARIANTS = [  # per channel, symmetric, inputs
    pytest.param(False, False, 10_000, id="per tensor"),
    pytest.param(True, False, 10_000, id="per channel"),
    pytest.param(False, True, 1_000, id="per tensor, symmetric"),
    pytest.param(True, True, 1_000, id="per channel, symmetric"),
]


@pytest.mark.parametrize(("per_channel", "symmetric", "inputs"), VARIANTS)
@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("network", NETWORKS)
def test_the_logits_are_those_of_onnxruntime(
    network: str, kinds: str, per_channel: bool, symmetric: bool, inputs: int
) -> None:
    """All of them; but where a signed activation is read twice, onnxruntime on x86-64 computes beside it in floats
    (findings/onnxruntime-signed-residuals.sh), and one input in a thousand may be a step away."""
    activation, weight = KINDS[kinds]
    extra = {"ActivationSymmetric": symmetric}
    data = quantised(
        NETWORKS[network](),
        activation_type=activation,
        weight_type=weight,
        per_channel=per_channel,
        extra_options=extra,
    )
    x = noisy(inputs)
    found, expected = ours(data, x), in_integers(data, x)
    if activation == I8 and network in ("residual", "many"):
        assert (found != expected).any(1).sum() <= 10
        assert np.abs(found - expected).max() <= 0.05 * np.abs(expected).max()
        assert (found.argmax(1) != expected.argmax(1)).sum() <= 2
    else:
        assert np.array_equal(found, expected)


OPTIONS: dict[str, dict[str, Any]] = {
    "reduced range": {"reduce_range": True, "per_channel": True},
    "quantised when read": {"extra_options": {"AddQDQPairToWeight": True}},
    "pairs of their own": {"extra_options": {"DedicatedQDQPair": True}},
    "floats for biases": {"extra_options": {"QuantizeBias": False}},
    "kept ReLUs": {"extra_options": {"QDQKeepRemovableActivations": True}},
    "layers alone": {"op_types_to_quantize": ["Conv", "Gemm", "MatMul"]},
    "weights of four bits": {"weight_type": QuantType.QInt4},
}


@pytest.mark.parametrize("options", OPTIONS)
def test_the_options_of_quantize_static(options: str) -> None:
    settings = {"activation_type": U8, "weight_type": I8} | OPTIONS[options]
    data = quantised(many(21), **settings)
    found, expected = ours(data, noisy(1_000)), in_integers(data, noisy(1_000))
    if options == "layers alone":  # Softmax is computed in floats
        assert np.allclose(found, expected, rtol=1e-6, atol=0)
    elif options == "pairs of their own":  # two nodes quantise one sum, which is rounded once more
        assert (found != expected).any(1).sum() <= 1 and np.abs(found - expected).max() < 1.01 / 255
    else:
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("opset", [13, 14, 15, 16, 17, 19, 20, 21])
def test_opsets(opset: int) -> None:
    for source in (many(opset), residual(opset)):
        data = quantised(source, activation_type=U8, weight_type=I8)
        assert np.array_equal(ours(data, noisy(500)), in_integers(data, noisy(500)))


@pytest.mark.parametrize("stored", [False, True])
def test_a_function_spelled_out_with_constants(stored: bool) -> None:
    """GELU, as torch's older exporter writes it: its constants are nodes, which quantize_static quantises by nodes."""
    constants = weights(c=(8, 1, 3, 3), b=(8,), f=(10, 512), fb=(10,))
    numbers = {"root": np.array(2**0.5, "f"), "one": np.array(1, "f"), "half": np.array(0.5, "f")}
    made = [node("Constant", [], name, value=numpy_helper.from_array(value)) for name, value in numbers.items()]
    nodes = [
        *([] if stored else made),
        node("Conv", ["x", "c", "b"], "a", pads=[1] * 4),
        node("Div", ["a", "root"], "d"),
        node("Erf", ["d"], "e"),
        node("Add", ["e", "one"], "s"),
        node("Mul", ["a", "s"], "m"),
        node("Mul", ["m", "half"], "g"),
        node("Flatten", ["g"], "h"),
        node("Gemm", ["h", "f", "fb"], transB=1),
    ]
    data = model(nodes, (1, 8, 8), constants | (numbers if stored else {}), opset=17)
    data, x = quantised(data, activation_type=U8, weight_type=I8), noisy(2_000)
    np.testing.assert_array_equal(ours(data, x), in_integers(data, x))


@pytest.mark.parametrize("flat", [(1, -1), (0, -1), (-1, 48)])
def test_a_fixed_batch(flat: tuple[int, ...]) -> None:
    data = quantised(many(18, 1, flat), activation_type=U8, weight_type=I8, per_channel=True)
    assert np.array_equal(ours(data, noisy(200)), in_integers(data, noisy(200)))


def test_outputs_that_stay_floats() -> None:
    """There onnxruntime has no integer kernel for Conv: its sums are floats, and may end a step away."""
    excluded = {"OpTypesToExcludeOutputQuantization": ["Conv", "Gemm", "MatMul"]}
    data = quantised(many(18), activation_type=U8, weight_type=I8, extra_options=excluded)
    found, expected = ours(data, noisy(1_000)), in_integers(data, noisy(1_000))
    apart = np.abs(found - expected).max(1) > 1e-5 * np.abs(expected).max()
    assert apart.sum() <= 10 and np.abs(found - expected).max() <= 0.02 * np.abs(expected).max()
    graph = read_onnx(data)
    assert {type(item.operator) for item in graph.nodes} >= {IntegerConv, IntegerLinear}


@pytest.mark.parametrize("weight", [I8, QuantType.QInt16, QuantType.QUInt4])
@pytest.mark.parametrize("activation", [QuantType.QUInt16, QuantType.QInt16])
def test_activations_of_16_bits(activation: QuantType, weight: QuantType) -> None:
    """onnxruntime sums them in float32, whose rounding is as large as their steps: no two kernels agree on all."""
    data = quantised(many(21), activation_type=activation, weight_type=weight)
    found, expected = ours(data, noisy(1_000)), in_integers(data, noisy(1_000))
    assert np.abs(found - expected).max() <= 2e-3 * np.abs(expected).max()
    assert (found != expected).any(1).mean() < 0.5
    assert (found.argmax(1) == expected.argmax(1)).all()


# One operator between steps: all that it may be asked, or many draws

KERNELS: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "AveragePool": ("AveragePool", (4, 9, 8), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "AveragePool, padded": ("AveragePool", (4, 9, 8), {"kernel_shape": [3, 3], "strides": [1, 2], "pads": [1] * 4}),
    "AveragePool, all": (
        "AveragePool", (4, 9, 8), {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1},
    ),
    "AveragePool, one axis": ("AveragePool", (4, 16), {"kernel_shape": [3], "strides": [2]}),
    "GlobalAveragePool": ("GlobalAveragePool", (4, 7, 5), {}),
    "Softmax": ("Softmax", (10,), {}),
    "Softmax of channels": ("Softmax", (6, 5, 4), {"axis": 1}),
    "Sigmoid": ("Sigmoid", (256,), {}),
    "LeakyRelu": ("LeakyRelu", (256,), {"alpha": 0.1}),
    "Relu": ("Relu", (256,), {}),
    "MaxPool": ("MaxPool", (4, 9, 8), {"kernel_shape": [2, 2]}),
    "Tanh": ("Tanh", (256,), {}),
}  # fmt: skip


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("kernel", KERNELS)
def test_one_kernel(kernel: str, kind: type[np.integer[Any]]) -> None:
    """With the same steps before and behind, which makes halves of averages, and with others."""
    operator, shape, attributes = KERNELS[kernel]
    rng, low = np.random.default_rng(3), np.iinfo(kind).min
    for trial in range(8):
        first = (float(rng.uniform(0.01, 0.05)), int(rng.integers(low + 60, low + 200)))
        second = (float(rng.uniform(0.01, 0.05)), int(rng.integers(low + 60, low + 200)))
        if trial % 2:
            second = (first[0], first[1] + trial // 2 - 1)
        if operator in ("Sigmoid", "Softmax"):
            second = (1 / (255, 256, 200, 230)[trial % 4], low)
        data = between(operator, kind, shape, [first, second], **attributes)
        steps = rng.integers(low, low + 256, (16, 1, *shape))
        x = ((steps - first[1]) * first[0]).astype(np.float32)
        found = to_module(read_onnx(data, task="regressor"))(torch.from_numpy(x)).numpy()
        expected = in_integers(data, x)
        assert np.array_equal(found, expected.reshape(found.shape)), (first, second)


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("operator", ["Add", "Mul"])
def test_all_pairs_of_steps(operator: str, kind: type[np.integer[Any]]) -> None:
    rng, low = np.random.default_rng(4), np.iinfo(kind).min
    every = np.arange(low, low + 256)
    pairs = np.stack(np.meshgrid(every, every)).reshape(2, 256, 256).swapaxes(0, 1)  # (rows, operands, columns)
    for _ in range(8):
        scales, zeros = rng.uniform(0.001, 0.1, 3), rng.integers(low, low + 256, 3)
        data = between(operator, kind, (256,), list(zip(scales.tolist(), zeros.tolist(), strict=True)))
        x = ((pairs - zeros[:2, None]) * scales[:2, None]).astype(np.float32)
        found = to_module(read_onnx(data, task="regressor"))(torch.from_numpy(x)).numpy()
        assert np.array_equal(found, in_integers(data, x).reshape(found.shape)), (scales, zeros)


# Exact sums


def test_a_row_has_the_same_logits_in_any_batch_and_layout() -> None:
    data = quantised(residual(13), activation_type=U8, weight_type=I8, per_channel=True)
    module, x = to_module(read_onnx(data)), torch.from_numpy(noisy(64))
    together = module(x)
    assert torch.equal(together, torch.cat([module(row[None]) for row in x]))
    assert torch.equal(together, torch.cat([module(x[:7]), module(x[7:])]))
    assert torch.equal(together, module(x.contiguous(memory_format=torch.channels_last)))


@pytest.mark.parametrize("rows", [200, 3000])
def test_sums_of_any_size_are_exact(rows: int) -> None:
    """Against integers; the larger are above 2^24, where float32 does not hold them."""
    rng = np.random.default_rng(5)
    w, b = rng.integers(100, 128, (rows, 4)), rng.integers(-(2**20), 2**20, 4)
    constants: dict[str, Any] = {
        "s": np.float32(1), "z": np.uint8(3), "w": w.astype(np.int8), "b": b.astype(np.int32), "o": np.uint8(0),
        "t": np.float32(2.0**17),
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], "q"),
        node("DequantizeLinear", ["q", "s", "z"], "f"),
        node("DequantizeLinear", ["w", "s"], "v"),
        node("DequantizeLinear", ["b", "s"], "c"),
        node("Gemm", ["f", "v", "c"], "m"),
        node("QuantizeLinear", ["m", "t", "o"], "p"),
        node("DequantizeLinear", ["p", "t", "o"]),
    ]
    graph = read_onnx(model(nodes, (rows,), constants))
    (total,) = (item.operator for item in graph.nodes if isinstance(item.operator, IntegerLinear))
    assert total.narrow == (rows == 200)
    steps = rng.integers(0, 256, (50, rows))
    found = total.run(
        [torch.from_numpy(steps.astype(np.float32))], {k: torch.tensor(v) for k, v in total.arrays().items()}
    )
    assert np.array_equal(found.numpy(), ((steps - 3) @ w + b).astype(np.float32))
    data = model(nodes, (rows,), constants)
    x = (steps - 3).astype(np.float32)
    assert np.array_equal(ours(data, x), in_integers(data, x))


# What is read as floats, and what is refused


def test_weights_in_blocks_are_read_as_floats() -> None:
    rng = np.random.default_rng(6)
    constants: dict[str, Any] = {
        "s": np.float32(0.02), "z": np.uint8(128), "w": rng.integers(-8, 8, (64, 10)).astype(np.int8),
        "t": rng.uniform(0.01, 0.1, (4, 10)).astype(np.float32), "b": np.arange(10, dtype=np.int32),
    }  # fmt: skip
    nodes = [
        node("Flatten", ["x"], "flat"),
        node("QuantizeLinear", ["flat", "s", "z"], "q"),
        node("DequantizeLinear", ["q", "s", "z"], "f"),
        node("DequantizeLinear", ["w", "t"], "v", axis=0, block_size=16),
        node("DequantizeLinear", ["b", "s"], "c"),
        node("Gemm", ["f", "v", "c"], "g"),
        node("Relu", ["g"], "r"),
        node("QuantizeLinear", ["r", "s", "z"], "p"),
        node("DequantizeLinear", ["p", "s", "z"]),
    ]
    data = model(nodes, (1, 8, 8), constants, opset=21)
    found, expected = ours(data, noisy(300)), in_floats(data, noisy(300))
    assert (found != expected).any(1).mean() < 0.02 and np.abs(found - expected).max() <= 0.02 * (1 + 1e-6)


def test_scales_by_channel_of_activations() -> None:
    rng = np.random.default_rng(7)
    constants: dict[str, Any] = {
        "s": rng.uniform(0.01, 0.02, 3).astype(np.float32), "z": np.array([3, 100, 250], np.uint8),
        "w": rng.standard_normal((12, 4)).astype(np.float32),
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], "q", axis=-2),
        node("DequantizeLinear", ["q", "s", "z"], "f", axis=1),
        node("Flatten", ["f"], "h"),
        node("MatMul", ["h", "w"]),
    ]
    data = model(nodes, (3, 4), constants)
    x = rng.standard_normal((50, 3, 4)).astype(np.float32)
    assert np.allclose(ours(data, x), in_floats(data, x), atol=1e-5)


def refused(data: bytes) -> str:
    with pytest.raises(UnsupportedModel) as caught:
        read_onnx(data)
    return str(caught.value)


@pytest.mark.parametrize("network", NETWORKS)
def test_other_formats_are_refused_with_a_remedy_that_helps(network: str, tmp_path: Any) -> None:
    source = NETWORKS[network]()
    words = refused(quantised(source, quant_format=QuantFormat.QOperator, activation_type=U8, weight_type=I8))
    assert "QDQ files alone" in words and "quant_format=QuantFormat.QDQ" in words
    (tmp_path / "float.onnx").write_bytes(source)
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "dynamic.onnx")
    words = refused((tmp_path / "dynamic.onnx").read_bytes())
    assert "DynamicQuantizeLinear" in words and "quantize_static(..., quant_format=QuantFormat.QDQ)" in words
    assert read_onnx(quantised(source, quant_format=QuantFormat.QDQ)).num_classes == 10


@pytest.mark.parametrize(
    ("constants", "settings", "words"),
    [
        ({"s": np.array([0.1, 0.2], np.float32)}, {}, "one zero point for each scale"),
        ({"s": np.full(6, 0.1, np.float32), "z": np.zeros(6, np.uint8)}, {"axis": 0}, "batch axis of its own"),
        ({"s": np.full(5, 0.1, np.float32), "z": np.zeros(5, np.uint8)}, {}, "contradict each other"),
        ({"s": np.full((1, 6), 0.1, np.float32), "z": np.zeros((1, 6), np.uint8)}, {}, "for each entry of an axis"),
        ({"s": np.float32(-0.1)}, {}, "not positive"),
        ({"s": np.float64(0.1)}, {}, "not positive float32"),
        ({"z": np.int32(0)}, {}, "8 or 16 bits"),
        ({}, {"output_dtype": TensorProto.FLOAT8E4M3FN}, "8 or 16 bits"),
        ({}, {"precision": TensorProto.FLOAT16}, "other than float32"),
    ],
)
def test_steps_that_are_not_taken(constants: dict[str, Any], settings: dict[str, Any], words: str) -> None:
    stored: dict[str, Any] = {"s": np.float32(0.1), "z": np.uint8(0)} | constants
    assert words in refused(model([node("QuantizeLinear", ["x", "s", "z"], **settings)], (6,), stored, opset=23))


def test_activations_of_four_bits_are_refused() -> None:
    stored: dict[str, Any] = {"s": np.float32(0.1)}
    data = model(
        [node("QuantizeLinear", ["x", "s", "z"], "q"), node("DequantizeLinear", ["q", "s", "z"])], (6,), stored
    )
    proto = onnx.ModelProto.FromString(data)
    proto.graph.initializer.append(helper.make_tensor("z", TensorProto.INT4, (), [0]))
    assert "8 or 16 bits" in refused(proto.SerializeToString())


def test_a_unit_that_is_no_whole() -> None:
    """What else needs the floats, or an output, has them."""
    constants: dict[str, Any] = {
        "s": np.float32(0.05),
        "t": np.float32(0.0371),
        "z": np.uint8(100),
        "w": np.arange(-18, 18, dtype=np.int8).reshape(6, 6),
    }
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], "q"),
        node("DequantizeLinear", ["q", "s", "z"], "f"),
        node("DequantizeLinear", ["w", "s"], "v"),
        node("MatMul", ["f", "v"], "m"),
        node("QuantizeLinear", ["m", "t", "z"], "p"),
        node("DequantizeLinear", ["p", "t", "z"], "g"),
        node("Add", ["g", "m"], "a"),
        node("Mul", ["a", "f"], "y"),
    ]
    data = model(nodes, (6,), constants)
    x = np.random.default_rng(8).standard_normal((100, 6)).astype(np.float32)
    assert np.allclose(ours(data, x), in_floats(data, x), rtol=1e-5, atol=1e-4)


# Certificates


def test_lipschitz_does_not_apply_and_says_why() -> None:
    for data in examples():
        graph = read_onnx(data)
        smoothing, lipschitz, _ = methods(graph)
        assert smoothing == {"kind": "smoothing", "applies": True, "reasons": []}
        assert not lipschitz["applies"]
        steps = [reason for reason in lipschitz["reasons"] if "not continuous" in reason["reason"]]
        assert len(steps) == 1
        assert "more nodes are like it" in steps[0]["reason"]
        assert all("smoothing" in reason["remedy"] for reason in lipschitz["reasons"])
        with pytest.raises(UnboundedModel, match="not continuous"):
            network_bound(graph)


def test_the_canonical_form_is_the_same_function() -> None:
    for data in examples():
        graph = read_onnx(data)
        again = from_canonical(*to_canonical(graph))
        assert again.digest == graph.digest
        x = torch.from_numpy(noisy(100))
        assert torch.equal(to_module(again)(x), to_module(graph)(x))
