"""Nodes of constants alone: folded at import to what onnxruntime makes of them, or refused."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch

from radii.graph.admission import MALFORMED
from radii.graph.call import Call
from radii.graph.errors import Refusal
from radii.graph.evaluation import evaluated
from radii.graph.folding import FOLDS
from tests.graph.build import model, node, reference
from tests.graph.case import ints as i64

F = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
ROOM = np.zeros(0, np.float32)  # an input that is there, and empty
FOLDED: list[tuple[str, dict[str, Any], tuple[np.ndarray, ...]]] = [
    ("Shape", {}, (F,)),
    ("Shape", {"start": -2, "end": 10}, (F,)),
    ("Size", {}, (F,)),
    ("ConstantOfShape", {}, (i64(2, 3),)),
    ("Range", {}, (np.array(2), np.array(11), np.array(3))),
    ("Range", {}, (np.array(5), np.array(-2), np.array(-2))),
    ("Cast", {"to": 7}, (F * 3,)),
    ("Cast", {"to": 1}, (i64(2, 3),)),
    ("Identity", {}, (F,)),
    ("Reshape", {}, (F, i64(0, -1))),
    ("Reshape", {"allowzero": 1}, (F, i64(4, 6))),
    ("Flatten", {"axis": 2}, (F,)),
    ("Flatten", {"axis": -1}, (F,)),
    ("Flatten", {"axis": 0}, (F,)),
    ("Transpose", {}, (F,)),
    ("Transpose", {"perm": [1, 2, 0]}, (F,)),
    ("Squeeze", {}, (F[:1], i64(0))),
    ("Unsqueeze", {}, (F, i64(0, -1))),
    ("Expand", {}, (F[:, :1], i64(5, 1, 3, 1))),
    ("Tile", {}, (F, i64(1, 2, 3))),
    ("Concat", {"axis": -1}, (F, F)),
    ("Gather", {"axis": 1}, (F, i64(-1, 0))),
    ("Slice", {}, (F, i64(3, -3), i64(-(2**63), 2**63 - 1), i64(2, 1), i64(-1, 2))),
    ("Slice", {}, (F, i64(1), i64(2))),
    ("Split", {"axis": 1, "num_outputs": 1}, (F,)),
    ("DequantizeLinear", {"axis": 0}, (np.arange(-3, 3, dtype=np.int8).reshape(3, 2), np.abs(F[0, :, 0]))),
    ("Einsum", {"equation": "bij , bik->kj"}, (F, F[:, :, :2])),
    ("Einsum", {"equation": "...ij,...j"}, (F, F[:1, 0])),
    ("Einsum", {"equation": "iij->j"}, (F[:, :2],)),
    ("Einsum", {"equation": "ba,bc,b->ac"}, (F[0], F[1], F[0, :, 0])),
    ("Where", {}, (F > 0, F, np.float32(0) * F[:1])),
    ("Add", {}, (F, F[0])),
    ("Sub", {}, (F, F[0])),
    ("Mul", {}, (i64(2, -3), i64(5, 7))),
    ("Div", {}, (i64(-7, 7, -6), i64(2, -2, 4))),
    ("Div", {}, (F, np.abs(F) + 1)),
    ("Pow", {}, (np.abs(F), np.array(0.5, np.float32))),
    ("Neg", {}, (F,)),
    ("Abs", {}, (F,)),
    ("Not", {}, (F > 0,)),
    ("Sqrt", {}, (np.abs(F),)),
    ("Reciprocal", {}, (np.abs(F) + 1,)),
    ("Exp", {}, (F,)),
    ("Log", {}, (np.abs(F) + 1,)),
    ("Floor", {}, (F * 3,)),
    ("Ceil", {}, (F * 3,)),
    ("Equal", {}, (i64(1, 2), i64(1, 3))),
    ("Less", {}, (F, F[0])),
    ("Greater", {}, (F, F[0])),
    ("LessOrEqual", {}, (i64(1, 2), i64(1, 1))),
    ("GreaterOrEqual", {}, (i64(1, 2), i64(1, 3))),
    ("And", {}, (F > 0, F < 1)),
    ("Or", {}, (F > 1, F < 0)),
    ("Min", {}, (F, F[:1], F[1:])),
    ("Max", {}, (F, F[:1])),
    ("ReduceProd", {"keepdims": 0}, (i64(2, 3, 4), i64(0))),
    ("ReduceProd", {}, (i64(2, 3, 4),)),
    ("ReduceMean", {}, (F, i64(1, 2))),
    ("ReduceSum", {"keepdims": 0}, (F, i64(-1))),
    ("ReduceL2", {}, (F, i64(0, 2))),
    ("Sin", {}, (F,)),
    ("Cos", {}, (F,)),
    ("Mod", {}, (i64(-7, 7, 6), i64(4, -4, 4))),
    ("Mod", {"fmod": 1}, (i64(-7, 7, 6), i64(4, -4, 4))),
    ("Mod", {"fmod": 1}, (F, F[0] + 2)),
    ("Pow", {}, (i64(2, -3), i64(5, 3))),
    ("Xor", {}, (F > 0, F < 1)),
    ("BitwiseAnd", {}, (i64(12, -1), i64(10, 6))),
    ("BitwiseOr", {}, (i64(12, -8), i64(10, 6))),
    ("BitwiseXor", {}, (i64(12, -1), i64(10, 6))),
    ("Sign", {}, (i64(-3, 0, 5),)),
    ("IsNaN", {}, (np.array([1, np.nan, np.inf], np.float32),)),
    ("IsInf", {"detect_negative": 0}, (np.array([1, np.nan, np.inf, -np.inf], np.float32),)),
    ("Round", {}, (np.array([0.5, 1.5, -2.5, 2.4], np.float32),)),
    ("EyeLike", {"k": -1}, (F[0],)),
    ("EyeLike", {"dtype": 7}, (F[0],)),
    ("CastLike", {}, (F * 3, i64(0))),
    ("Trilu", {}, (F,)),
    ("Trilu", {"upper": 0}, (F, np.array(-1))),
    ("GatherElements", {"axis": 1}, (F, np.array([[[0, -1, 2, 1]]]))),
    ("GatherND", {}, (F, np.array([[0, -1], [1, 0]]))),
    ("GatherND", {"batch_dims": 1}, (F, np.array([[[1], [2]], [[0], [-1]]]))),
    ("ScatterND", {}, (F, np.array([[0, 2], [1, -1]]), F[0, :2])),
    ("ScatterND", {"reduction": "add"}, (F, np.array([[1], [1]]), F)),
    ("ScatterElements", {"axis": -1}, (F, np.array([[[3, 0], [1, -2]]]), F[:1, :2, :2])),
    ("ScatterElements", {"axis": 0, "reduction": "max"}, (F, np.array([[[1, 1, 0, 0]]]), F[:1, :1] + 1)),
    ("OneHot", {}, (i64(1, -1, 7), np.array(3), np.array([2.0, 5.0], np.float32))),
    ("OneHot", {"axis": 0}, (i64(1, 0), i64(3), i64(0, 1))),
    ("NonZero", {}, ((F > 0).astype(np.float32),)),
    ("ArgMax", {"axis": 1}, (F,)),
    ("ArgMax", {"axis": -1, "keepdims": 0, "select_last_index": 1}, (np.zeros((2, 3), np.float32),)),
    ("ArgMin", {"axis": 0}, (F,)),
    ("TopK", {}, (F, i64(2))),
    ("TopK", {"axis": 1, "largest": 0}, (F, i64(3))),
    ("Clip", {}, (F, np.array(-0.5, np.float32), np.array(0.5, np.float32))),
    ("Clip", {}, (i64(1, 5, 9), np.array(3), np.array(7))),
    ("MatMul", {}, (F, F[0].T)),
    ("MatMul", {}, (F[0, 0], F[1, 1])),
    ("CumSum", {}, (F, np.array(1))),
    ("CumSum", {"exclusive": 1, "reverse": 1}, (i64(1, 2, 3), np.array(0))),
    ("ReduceMax", {}, (F, i64(0))),
    ("ReduceMin", {"keepdims": 0}, (i64(4, 2, 3), i64(0))),
    ("ReduceL1", {}, (F,)),
    ("ReduceSumSquare", {}, (F, i64(1))),
    ("ReduceLogSumExp", {"keepdims": 0}, (F, i64(1, 2))),
    ("BatchNormalization", {}, (F, F[0, :, 0], F[1, :, 0], F[0, :, 1], np.abs(F[0, :, 2]) + 1)),
    # layers of constants alone, run as they would run on activations
    ("Relu", {}, (F[0, 0, 0],)),
    ("Sigmoid", {}, (F,)),
    ("Softmax", {"axis": -1}, (F,)),
    ("LayerNormalization", {"axis": -1}, (F, F[0, 0], F[1, 1])),
    ("Resize", {"mode": "cubic"}, (F[:, :, None], ROOM, np.array([1, 1, 2, 1.5], np.float32))),
    ("Resize", {"mode": "linear"}, (F[:1, :, None], ROOM, ROOM, i64(1, 3, 2, 7))),
    ("Resize", {}, (F, ROOM, np.array([2, 1, 1], np.float32))),
    ("Softmax", {"axis": 0}, (F,)),
    ("LogSoftmax", {"axis": 0}, (F[:, 0, 0],)),
    ("Tanh", {}, (F[0, 0, 0],)),
    ("InstanceNormalization", {}, (F, F[0, :, 0], F[1, :, 0])),
    ("AveragePool", {"kernel_shape": [2], "ceil_mode": 1}, (F,)),
    ("Conv", {"pads": [1, 1]}, (F, F[:, :, :3])),
    ("Gemm", {"transB": 1, "alpha": 0.5}, (F[0], F[1], F[0, :, 0])),
    ("Pad", {"mode": "reflect"}, (F, i64(0, 0, 1, 0, 0, 2))),
    ("QuantizeLinear", {}, (F, np.array(0.05, np.float32), np.array(7, np.uint8))),
    ("QuantizeLinear", {"axis": 0}, (F, np.array([0.05, 0.3], np.float32), np.array([-4, 0], np.int8))),
    ("DepthToSpace", {"blocksize": 2}, (F.reshape(1, 4, 3, 2),)),
]


def test_every_fold_has_a_case() -> None:
    assert {name for name, _, _ in FOLDED} | {"Constant", "Scatter"} >= set(FOLDS)


@pytest.mark.parametrize(("name", "attributes", "inputs"), FOLDED, ids=lambda value: value if value is str else None)
def test_folding_equals_onnxruntime(name: str, attributes: dict[str, Any], inputs: tuple[np.ndarray, ...]) -> None:
    """The folded value, and onnxruntime's, of the same node on the same constants."""
    found = evaluated(Call(name, 18, attributes, inputs))
    assert not found.flags.writeable
    names = [f"c{i}" for i in range(len(inputs))]
    made = node(name, names, **attributes)
    made.output.extend(["indices"] * (name == "TopK"))
    constants = dict(zip(names, map(np.asarray, inputs), strict=True))
    proto = onnx.ModelProto.FromString(model([made], (2,), constants))
    proto.graph.output[0].type.tensor_type.elem_type = onnx.helper.np_dtype_to_tensor_dtype(found.dtype)
    expected = reference(proto.SerializeToString(), np.zeros((1, 2), np.float32))
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 if found.dtype.kind == "f" else 0)
    assert found.shape == expected.shape


def test_where_the_largest_are() -> None:
    equal = np.array([[1, 3, 3, 0]], np.float32)
    assert evaluated(Call("TopK", 18, {}, (equal, i64(3)), outputs=2, output=1)).tolist() == [[1, 2, 0]]
    assert evaluated(Call("TopK", 18, {"largest": 0}, (equal, i64(3)), outputs=2, output=1)).tolist() == [[3, 0, 1]]


def test_a_kernel_is_standardised_by_batch_norm_in_training_mode() -> None:
    """As BiT's weights are; the batch norm of activations is refused there."""
    kernel, scale, offset = F.reshape(1, 4, 6), F[0, 0], F[0, 1]
    inputs = (kernel, scale, offset, 0 * scale, 0 * scale + 1)
    found = evaluated(Call("BatchNormalization", 17, {"training_mode": 1, "epsilon": 1e-3}, inputs, outputs=3))
    x, mean, variance, weight, bias = map(torch.tensor, (kernel, 0 * scale, 0 * scale, scale, offset))
    expected = torch.nn.functional.batch_norm(x, mean, variance, weight, bias, training=True, eps=1e-3)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_numbers_that_do_not_fit_an_integer_become_the_least() -> None:
    """As onnxruntime and torch have it on common processors: exporters leave them out by a Where behind."""
    numbers = np.array([1.9, -1.9, 1e30, -1e30, np.inf, -np.inf, np.nan, 2.0**31], np.float32)
    least = np.iinfo(np.int32).min
    assert evaluated(Call("Cast", 18, {"to": 6}, (numbers,))).tolist() == [1, -1, *[least] * 6]


@pytest.mark.parametrize(
    ("name", "attributes", "inputs"),
    [
        ("MatMul", {}, (np.zeros((2**14, 4), np.float32), np.zeros((4, 2**14), np.float32))),
        ("OneHot", {}, (np.zeros(2**14, np.int64), i64(2**14), np.zeros(2, np.float32))),
        ("GatherND", {}, (np.zeros((2, 2**14), np.float32), np.zeros((2**14, 1), np.int64))),
        ("Resize", {}, (np.zeros((1, 1, 8), np.float32), ROOM, np.array([1, 1, 2**24], np.float32))),
        ("Range", {}, (np.array(0), np.array(2**40), np.array(1))),
        ("MatMul", {}, (np.zeros((2**12, 2**12), np.float32),) * 2),
        ("Conv", {}, (np.zeros((1, 1, 2**11, 2**11), np.float32), np.zeros((8, 1, 2**10, 2**10), np.float32))),
    ],
)
def test_what_would_be_too_large_or_too_long_to_compute_is_refused(
    name: str, attributes: dict[str, Any], inputs: tuple[np.ndarray, ...]
) -> None:
    with pytest.raises(Refusal, match=r"over the limit|far too large"):
        evaluated(Call(name, 18, attributes, inputs))


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("Gather", (F, i64(2))),
        ("GatherND", (F, np.array([[0, 3]]))),
        ("GatherElements", (F, np.zeros((3, 3, 4), np.int64) - 3)),
        ("ScatterND", (F, np.array([[2]]), F[:1])),
        ("ScatterND", (F, np.array([[1]]), F)),
        ("ScatterElements", (F, np.zeros((1, 1, 5), np.int64), F[:1, :1])),
        ("TopK", (F, i64(5))),
        ("ArgMax", (np.array(1.0, np.float32),)),
        ("Relu", (i64(1, 2),)),
    ],
)
def test_constants_that_do_not_fit_are_refused(name: str, inputs: tuple[np.ndarray, ...]) -> None:
    with pytest.raises((Refusal, *MALFORMED)):
        evaluated(Call(name, 18, {}, inputs))
