"""Operators with many settings over their whole space: like onnxruntime, the shape that runs, the slope that is bound.

Where onnxruntime runs a node, so do we, with the same answer; where it does not, we refuse or answer, nothing else.
"""

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from radii.graph import UnsupportedModel, read_onnx, rules, to_module
from tests.graph.build import reference, relative_gap
from tests.graph.case import Case
from tests.graph.test_operators import convolution_matrix, inputs_of, jacobian, run, the_node

NOT_RUN = (
    runtime.InvalidArgument,
    runtime.InvalidGraph,
    runtime.Fail,
    runtime.NotImplemented,
    runtime.RuntimeException,
)
OPSETS = st.sampled_from((11, 13, 18, 21, 23))
SMALL = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def check(case: Case, ours: str = "") -> None:
    """One node of the space; ``ours`` matches the reasons of what onnxruntime runs and we refuse on purpose."""
    data = case.data()
    x = np.random.default_rng(3).normal(size=(2, *case.shape)).astype(np.float32)
    try:
        expected = reference(data, x)
    except NOT_RUN:
        expected = None
    try:
        graph = read_onnx(data)
    except UnsupportedModel as refused:
        assert expected is None or expected.shape[1] < 2 or (ours and re.search(ours, str(refused))), refused
        return
    node = the_node(graph, case)
    if expected is not None:
        assert relative_gap(to_module(graph)(torch.from_numpy(x)).numpy(), expected) < 1e-5
    if node is None:
        return
    inputs = inputs_of(graph, node, 1, 0)
    assert run(node, inputs).shape == (1, *graph.shapes[node.output])
    rule = node.operator.lipschitz(*graph.input_shapes(node))
    norm = np.linalg.norm(jacobian(node, inputs), 2)
    if isinstance(rule, rules.Slope):
        assert norm <= rule.upper * (1 + 1e-12)
    elif isinstance(rule, rules.Convolution):
        assert norm == pytest.approx(np.linalg.norm(convolution_matrix(rule), 2), rel=1e-9)
    else:
        assert isinstance(rule, rules.Unbounded)


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@st.composite
def windows(draw: st.DrawFn, axes: int, *, dilated: bool = True) -> dict[str, Any]:
    def each(low: int, high: int, count: int = axes) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=count, max_size=count))

    attributes: dict[str, Any] = {"kernel_shape": each(1, 3), "strides": each(1, 3)}
    if dilated:
        attributes["dilations"] = each(1, 2)
    pad = draw(st.sampled_from(("pads", "SAME_UPPER", "SAME_LOWER", "VALID", "none")))
    if pad == "pads":
        attributes["pads"] = each(0, 2, 2 * axes)
    elif pad != "none":
        attributes["auto_pad"] = pad
    return attributes


IMAGES = {1: st.tuples(st.just(2), st.integers(1, 7)), 2: st.tuples(st.just(2), st.integers(1, 6), st.integers(1, 6))}


@pytest.mark.parametrize("axes", [1, 2])
@SMALL
@given(st.data())
def test_convolutions(axes: int, data: st.DataObject) -> None:
    attributes, shape = data.draw(windows(axes)), data.draw(IMAGES[axes])
    groups = data.draw(st.sampled_from((1, 2)))
    kernel = weights(2 if groups == 1 else 4, 2 // groups, *attributes["kernel_shape"])
    check(Case("Conv", {**attributes, "group": groups}, ("x", kernel), shape, data.draw(OPSETS)))


@pytest.mark.parametrize("axes", [1, 2])
@SMALL
@given(st.data())
def test_transposed_convolutions(axes: int, data: st.DataObject) -> None:
    attributes, shape = data.draw(windows(axes)), data.draw(IMAGES[axes])
    groups = data.draw(st.sampled_from((1, 2)))
    attributes["group"] = groups
    if data.draw(st.booleans()):
        attributes["output_padding"] = data.draw(st.lists(st.integers(0, 2), min_size=axes, max_size=axes))
    kernel = weights(2, 3, *attributes["kernel_shape"])
    check(
        Case("ConvTranspose", attributes, ("x", kernel, weights(3 * groups)), shape, data.draw(OPSETS)),
        ours="output",
    )


@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool"])
@SMALL
@given(st.data())
def test_pools(operator: str, data: st.DataObject) -> None:
    attributes = data.draw(windows(2, dilated=operator == "MaxPool"))
    attributes["ceil_mode"] = data.draw(st.sampled_from((0, 1)))
    if operator == "AveragePool":
        attributes["count_include_pad"] = data.draw(st.sampled_from((0, 1)))
    check(
        Case(operator, attributes, shape=data.draw(IMAGES[2]), opset=data.draw(st.sampled_from((19, 22, 23)))),
        ours="padding alone|ambiguous|larger than its input",
    )


@SMALL
@given(st.data())
def test_resizes(data: st.DataObject) -> None:
    mode = data.draw(st.sampled_from(("nearest", "linear", "cubic")))
    attributes: dict[str, Any] = {
        "mode": mode,
        "coordinate_transformation_mode": data.draw(
            st.sampled_from(("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"))
        ),
        "nearest_mode": data.draw(st.sampled_from(("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"))),
    }
    shape = data.draw(st.tuples(st.just(2), st.integers(2, 6), st.integers(2, 6)))
    if data.draw(st.booleans()):
        scales = [data.draw(st.sampled_from((0.5, 0.75, 1.0, 1.3, 2.0, 2.5, 3.0))) for _ in range(2)]
        inputs: tuple[Any, ...] = ("x", np.zeros(0, np.float32), np.array([1, 1, *scales], np.float32))
        check(Case("Resize", attributes, inputs, shape, data.draw(OPSETS)), ours="leave all sizes")
    else:
        target = np.array([data.draw(st.integers(1, 12)) for _ in range(2)])
        attributes["axes"] = [2, 3]
        check(Case("Resize", attributes, ("x", "", "", target), shape, data.draw(st.sampled_from((18, 19, 23)))))


@SMALL
@given(st.data())
def test_splits(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    axis, opset = data.draw(st.sampled_from((1, 2, -1))), data.draw(OPSETS)
    shape = [2, 2, 2]
    shape[axis - (axis > 0)] = max(1, sum(lengths))
    outputs = len(lengths)
    form = data.draw(st.sampled_from(("lengths", "count", "equal")))
    attributes: dict[str, Any] = {"axis": axis}
    inputs: tuple[Any, ...] = ("x",)
    if form == "lengths" and opset < 13:
        attributes["split"] = lengths
    elif form == "lengths":
        inputs = ("x", np.array(lengths))
    elif form == "count" and opset >= 18:
        attributes["num_outputs"] = outputs
    output = data.draw(st.integers(0, outputs - 1))
    assume(form != "lengths" or min(lengths) > 0)
    check(Case("Split", attributes, inputs, tuple(shape), opset, outputs, output), ours="Give the lengths")


@SMALL
@given(st.data())
def test_pads(data: st.DataObject) -> None:
    mode = data.draw(st.sampled_from(("constant", "reflect", "edge")))
    pads = data.draw(st.lists(st.integers(-1, 3), min_size=6, max_size=6))
    shape = data.draw(st.tuples(st.just(2), st.integers(2, 5), st.integers(2, 5)))
    full = np.array([0, *pads[:3], 0, *pads[3:]])
    check(
        Case("Pad", {"mode": mode}, ("x", full, np.array(0.5, np.float32)), shape, data.draw(OPSETS)),
        ours="pad",
    )


@SMALL
@given(st.data())
def test_slices(data: st.DataObject) -> None:
    axes = data.draw(st.lists(st.sampled_from((1, 2, 3)), min_size=1, max_size=3, unique=True))
    count = len(axes)

    def each(low: int, high: int) -> list[int]:
        return data.draw(st.lists(st.integers(low, high), min_size=count, max_size=count))

    starts, ends, steps = each(-7, 7), each(-7, 7), [step or 1 for step in each(-3, 3)]
    inputs = ("x", *(np.array(values) for values in (starts, ends, axes, steps)))
    check(Case("Slice", {}, inputs, (3, 5, 4), data.draw(OPSETS)))


@pytest.mark.parametrize("operator", ["ReduceSum", "ReduceMax", "ReduceMin", "ReduceMean", "ReduceL1", "ReduceL2"])
@settings(SMALL, max_examples=20)
@given(st.data())
def test_reductions(operator: str, data: st.DataObject) -> None:
    axes = data.draw(st.lists(st.sampled_from((1, 2, 3, -1, -2)), min_size=1, max_size=3, unique=True))
    opset = data.draw(OPSETS)
    attributes: dict[str, Any] = {"keepdims": data.draw(st.sampled_from((0, 1)))}
    if opset < (13 if operator == "ReduceSum" else 18):
        check(Case(operator, {**attributes, "axes": axes}, ("x",), (3, 2, 4), opset), ours="named twice")
    else:
        check(Case(operator, attributes, ("x", np.array(axes)), (3, 2, 4), opset), ours="named twice")


@SMALL
@given(st.data())
def test_expansions(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.sampled_from((1, 3)), min_size=1, max_size=3))
    target = data.draw(st.lists(st.sampled_from((1, 2, 3)), min_size=1, max_size=len(shape)))
    check(Case("Expand", {}, ("x", np.array(target)), tuple(shape), data.draw(OPSETS)))
    repeats = data.draw(st.lists(st.integers(1, 3), min_size=len(shape), max_size=len(shape)))
    check(Case("Tile", {}, ("x", np.array([1, *repeats])), tuple(shape), data.draw(OPSETS)))


@SMALL
@given(st.data())
def test_blocks_and_order(data: st.DataObject) -> None:
    shape = (data.draw(st.sampled_from((3, 4, 8, 9))), data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4)))
    block, opset = data.draw(st.integers(1, 3)), data.draw(OPSETS)
    check(
        Case(
            "DepthToSpace",
            {"blocksize": block, "mode": data.draw(st.sampled_from(("DCR", "CRD")))},
            ("x",),
            shape,
            opset,
        )
    )
    check(Case("SpaceToDepth", {"blocksize": block}, ("x",), shape, opset))
    k, axis = data.draw(st.integers(1, 4)), data.draw(st.sampled_from((1, 2, 3, -1)))
    largest = data.draw(st.sampled_from((0, 1)))
    check(Case("TopK", {"axis": axis, "largest": largest}, ("x", np.array([k])), shape, opset, 2))
