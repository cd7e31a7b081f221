"""Small quantised networks, written by onnxruntime's quantize_static when a test asks, and how onnxruntime runs them.

Random weights, calibrated on the digits of ``examples/digits``.
"""

import itertools
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from tests.graph.build import model, node

U8, I8 = QuantType.QUInt8, QuantType.QInt8
PIXELS: np.ndarray = np.load(Path(__file__).parents[2] / "examples/digits/digits.npz")["x"]


def noisy(count: int, sigma: float = 0.25) -> np.ndarray:
    """Digits with noise, as smoothing makes them."""
    rng = np.random.default_rng(0)
    chosen = PIXELS[rng.integers(0, len(PIXELS), count)]
    return (chosen + sigma * rng.standard_normal(chosen.shape)).astype(np.float32)


def perceptron(operator: str, opset: int) -> bytes:
    """Three layers, of Gemm or of MatMul and Add."""
    nodes, sizes, constants = [node("Flatten", ["x"], "h0")], (64, 48, 32, 10), {}
    rng = np.random.default_rng(2)
    for i, (rows, columns) in enumerate(itertools.pairwise(sizes), start=1):
        constants[f"w{i}"] = (rng.standard_normal((rows, columns)) * np.sqrt(2 / rows)).astype(np.float32)
        constants[f"b{i}"] = 0.1 * rng.standard_normal(columns).astype(np.float32)
        last = "y" if i == 3 else f"a{i}"
        if operator == "Gemm":
            nodes.append(node("Gemm", [f"h{i - 1}", f"w{i}", f"b{i}"], last))
        else:
            nodes += [node("MatMul", [f"h{i - 1}", f"w{i}"], f"m{i}"), node("Add", [f"m{i}", f"b{i}"], last)]
        if i < 3:
            nodes.append(node("Relu", [f"a{i}"], f"h{i}"))
    return model(nodes, (1, 8, 8), constants, opset=opset)


def weights(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        name: (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]) if len(shape) > 1 else 0.01)).astype("f")
        for name, shape in shapes.items()
    }


def residual(opset: int) -> bytes:
    """Convolutions, one of them with a residual around it, MaxPool, GlobalAveragePool."""
    constants = weights(c1=(8, 1, 3, 3), b1=(8,), c2=(8, 8, 3, 3), b2=(8,), c3=(8, 8, 3, 3), b3=(8,), c4=(16, 8, 3, 3))
    nodes = [
        node("Conv", ["x", "c1", "b1"], "a1", pads=[1] * 4),
        node("Relu", ["a1"], "r1"),
        node("Conv", ["r1", "c2", "b2"], "a2", pads=[1] * 4),
        node("Relu", ["a2"], "r2"),
        node("Conv", ["r2", "c3", "b3"], "a3", pads=[1] * 4),
        node("Add", ["a3", "r1"], "s"),
        node("Relu", ["s"], "r3"),
        node("MaxPool", ["r3"], "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p", "c4"], "a4", pads=[1] * 4),
        node("Relu", ["a4"], "r4"),
        node("GlobalAveragePool", ["r4"], "g"),
        node("Flatten", ["g"], "h"),
        node("Gemm", ["h", "f", "fb"], transB=1),
    ]
    return model(nodes, (1, 8, 8), constants | weights(f=(10, 16), fb=(10,)), opset=opset)


def many(opset: int, batch: int | str = "batch", flat: Sequence[int] = (0, -1)) -> bytes:
    """Depthwise convolutions, a gate, Concat, averages, and functions of one variable."""
    constants = weights(
        c1=(8, 1, 3, 3), b1=(8,), dw=(8, 1, 3, 3), bd=(8,), c2=(8, 8, 1, 1), b2=(8,), s1=(4, 8, 1, 1), s2=(8, 4, 1, 1),
        c3=(12, 16, 3, 3), b3=(12,), f=(48, 20), fb=(20,), f2=(20, 10),
    )  # fmt: skip
    constants |= {"low": np.array(0, np.float32), "high": np.array(6, np.float32), "flat": np.array(flat)}
    nodes = [
        node("Conv", ["x", "c1", "b1"], "a1", pads=[1] * 4),
        node("Clip", ["a1", "low", "high"], "r1"),
        node("Conv", ["r1", "dw", "bd"], "a2", pads=[1] * 4, group=8),
        node("LeakyRelu", ["a2"], "r2", alpha=0.1),
        node("Conv", ["r2", "c2", "b2"], "a3"),
        node("GlobalAveragePool", ["a3"], "g"),
        node("Conv", ["g", "s1"], "g1"),
        node("Relu", ["g1"], "g2"),
        node("Conv", ["g2", "s2"], "g3"),
        node("Sigmoid", ["g3"], "g4"),
        node("Mul", ["a3", "g4"], "m"),
        node("Concat", ["m", "r1"], "cc", axis=1),
        node("AveragePool", ["cc"], "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p", "c3", "b3"], "a4", pads=[1] * 4),
        node("Relu", ["a4"], "r4"),
        node("MaxPool", ["r4"], "p2", kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", ["p2", "flat"], "h"),
        node("Gemm", ["h", "f", "fb"], "h1"),
        node("Sigmoid", ["h1"], "h2"),
        node("MatMul", ["h2", "f2"], "z"),
        node("Softmax", ["z"]),
    ]
    return model(nodes, (1, 8, 8), constants, opset=opset, batch=batch)


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self._left: Iterator[np.ndarray] = iter(PIXELS[:64, None])

    def get_next(self) -> dict[str, np.ndarray] | None:
        row = next(self._left, None)
        return None if row is None else {"x": row}


@contextmanager
def quiet() -> Iterator[None]:
    """Without the advice to preprocess, which goes to the root logger."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)


def quantised(data: bytes, *, quant_format: QuantFormat = QuantFormat.QDQ, **settings: Any) -> bytes:
    """The file that quantize_static makes of it."""
    with TemporaryDirectory() as folder, quiet():
        source, made = Path(folder) / "float.onnx", Path(folder) / "made.onnx"
        source.write_bytes(data)
        quantize_static(source, made, Calibration(), quant_format=quant_format, **settings)
        return made.read_bytes()


def in_integers(data: bytes, x: np.ndarray) -> np.ndarray:
    """onnxruntime's answers with its integer kernels, their sums exact on every processor, which its defaults are on
    those with VNNI; row by row where the file has a batch of its own."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    return answers(onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"]), x)


def in_floats(data: bytes, x: np.ndarray) -> np.ndarray:
    """Its answers without optimisations: floats between the steps, and a sum's rounding as its kernels have it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return answers(onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"]), x)


def answers(session: onnxruntime.InferenceSession, x: np.ndarray) -> np.ndarray:
    (source,) = session.get_inputs()
    if isinstance(source.shape[0], str):
        return session.run(None, {source.name: x})[0]
    return np.concatenate([session.run(None, {source.name: row[None]})[0] for row in x])


def between(
    operator: str,
    kind: type[np.integer[Any]],
    shape: Sequence[int],
    pairs: Sequence[tuple[float, int]],
    *,
    constants: dict[str, np.ndarray] | None = None,
    opset: int = 19,
    **attributes: Any,
) -> bytes:
    """One operator between steps: the last pair of scale and zero point is its output's, the others its inputs', each
    of which is a part of ``x``, (inputs, *shape)."""
    nodes, names = [], []
    stored: dict[str, np.ndarray] = dict(constants or {})
    for i, (scale, zero) in enumerate(pairs):
        stored |= {f"s{i}": np.array(scale, np.float32), f"z{i}": np.array(zero, kind)}
    for i in range(len(pairs) - 1):
        stored[f"i{i}"] = np.array(i)
        nodes += [
            node("Gather", ["x", f"i{i}"], f"x{i}", axis=1),
            node("QuantizeLinear", [f"x{i}", f"s{i}", f"z{i}"], f"q{i}"),
            node("DequantizeLinear", [f"q{i}", f"s{i}", f"z{i}"], f"f{i}"),
        ]
        names.append(f"f{i}")
    last = len(pairs) - 1
    nodes += [
        node(operator, [*names, *(constants or {})], "m", **attributes),
        node("QuantizeLinear", ["m", f"s{last}", f"z{last}"], "q"),
        node("DequantizeLinear", ["q", f"s{last}", f"z{last}"]),
    ]
    return model(nodes, (last, *shape), stored, opset=opset)


@cache
def examples() -> tuple[bytes, ...]:
    """Files that have every class of operator that quantised networks are read as."""
    return (
        quantised(residual(13), activation_type=I8, weight_type=I8, per_channel=True),
        quantised(many(13), activation_type=U8, weight_type=I8),
        quantised(perceptron("Gemm", 13), activation_type=QuantType.QInt16, weight_type=I8),
    )
