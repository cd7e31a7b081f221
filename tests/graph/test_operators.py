"""The suite that every operator runs: onnxruntime, shapes, the Lipschitz rule, refusals."""

import dataclasses
import itertools

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from radii.graph import OPERATORS, Graph, Node, UnsupportedModel, operators, read_onnx, rules, to_module
from tests.graph.build import reference, relative_gap
from tests.graph.case import Case
from tests.graph.cases import BAD, GOOD

POSITIVE = ("Sqrt", "Log")  # where these are defined


def the_node(graph: Graph, case: Case) -> Node | None:
    """The case's own node; None where it was dropped as doing nothing."""
    return next((node for node in graph.nodes if node.index == len(case.helpers())), None)


def sample(shape: tuple[int, ...], batch: int, seed: int) -> torch.Tensor:
    return torch.randn(batch, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def inputs_of(graph: Graph, node: Node, batch: int, seed: int) -> list[torch.Tensor]:
    """Free inputs for one node: not only what the graph before it can make."""
    values = {name: sample(graph.shapes[name], batch, seed + i) for i, name in enumerate(set(node.inputs))}
    return [values[name].abs() if node.operator.name in POSITIVE else values[name] for name in node.inputs]


def run(node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
    arrays = {
        name: torch.from_numpy(np.array(array)).to(torch.float64 if array.dtype.kind == "f" else torch.int64)
        for name, array in node.operator.arrays().items()
    }
    return node.operator.run(inputs, arrays)


def jacobian(node: Node, inputs: list[torch.Tensor], which: int = 0) -> np.ndarray:
    """d output / d one input at one sample, as a matrix."""

    def function(x: torch.Tensor) -> torch.Tensor:
        return run(node, [x if i == which else other for i, other in enumerate(inputs)])

    matrix = torch.autograd.functional.jacobian(function, inputs[which], vectorize=True)
    return matrix.reshape(-1, inputs[which].numel()).numpy()


def convolution_matrix(rule: rules.Convolution) -> np.ndarray:
    """The matrix a rule speaks of, entry by entry from its definition."""
    if rule.transposed:
        return transposed_matrix(rule)
    out, per_group = rule.weight.shape[:2]
    kernel = rule.weight.shape[2:]
    sizes = rule.input_size
    counts = [
        (n + low + high - d * (k - 1) - 1) // s + 1
        for n, k, s, d, (low, high) in zip(sizes, kernel, rule.stride, rule.dilation, rule.padding, strict=True)
    ]
    matrix = np.zeros((out, *counts, per_group * rule.groups, *sizes))
    for o in range(out):
        group = o // (out // rule.groups)
        for position in itertools.product(*map(range, counts)):
            for c in range(per_group):
                for tap in itertools.product(*map(range, kernel)):
                    pixel = tuple(
                        p * s + t * d - low
                        for p, s, t, d, (low, _) in zip(
                            position, rule.stride, tap, rule.dilation, rule.padding, strict=True
                        )
                    )
                    if all(0 <= q < n for q, n in zip(pixel, sizes, strict=True)):
                        matrix[(o, *position, group * per_group + c, *pixel)] += rule.weight[(o, c, *tap)]
    return matrix.reshape(out * int(np.prod(counts)), -1)


def transposed_matrix(rule: rules.Convolution) -> np.ndarray:
    """The same: every input pixel adds its multiple of the kernel to the output, which is then cropped."""
    channels, per_group = rule.weight.shape[:2]
    kernel, sizes = rule.weight.shape[2:], rule.input_size
    made = [
        (n - 1) * s + d * (k - 1) + 1 - low - high + extra
        for n, k, s, d, (low, high), extra in zip(
            sizes, kernel, rule.stride, rule.dilation, rule.padding, rule.output_padding, strict=True
        )
    ]
    matrix = np.zeros((per_group * rule.groups, *made, channels, *sizes))
    for c in range(channels):
        group = c // (channels // rule.groups)
        for o, pixel, tap in itertools.product(
            range(per_group), itertools.product(*map(range, sizes)), itertools.product(*map(range, kernel))
        ):
            target = tuple(
                p * s + t * d - low
                for p, s, t, d, (low, _) in zip(pixel, rule.stride, tap, rule.dilation, rule.padding, strict=True)
            )
            if all(0 <= q < n for q, n in zip(target, made, strict=True)):
                matrix[(group * per_group + o, *target, c, *pixel)] += rule.weight[(c, o, *tap)]
    return matrix.reshape(-1, channels * int(np.prod(sizes)))


def test_every_operator_has_a_case_and_a_description() -> None:
    assert {case.operator for case in GOOD} == set(OPERATORS)
    listed = operators()
    assert [entry["name"] for entry in listed] == sorted(OPERATORS)
    assert all(entry["lipschitz"] for entry in listed)


@pytest.mark.parametrize("case", GOOD, ids=str)
def test_equals_onnxruntime(case: Case) -> None:
    data = case.data()
    x = np.random.default_rng(1).normal(size=(3, *case.shape)).astype(np.float32)
    expected = reference(data, x)
    graph = read_onnx(data)
    assert relative_gap(to_module(graph)(torch.from_numpy(x)).numpy(), expected) < 1e-5
    in_double = to_module(graph, dtype=torch.float64)(torch.from_numpy(x).double())
    assert in_double.dtype == torch.float64
    assert relative_gap(in_double.numpy(), expected) < 1e-5


@pytest.mark.parametrize("case", GOOD, ids=str)
def test_equals_onnxruntime_at_every_opset_that_has_it(case: Case) -> None:
    """Spellings change with the opset: wherever onnxruntime accepts the node, so do we, with the same answer."""
    x = np.random.default_rng(2).normal(size=(2, *case.shape)).astype(np.float32)
    compared = 0
    for opset in (8, 9, 10, 11, 12, 13, 14, 17, 19, 20, 21, 22, 23):
        data = dataclasses.replace(case, opset=opset).data()
        try:
            expected = reference(data, x)
        except (runtime.InvalidArgument, runtime.InvalidGraph, runtime.Fail, runtime.NotImplemented):
            continue
        assert relative_gap(to_module(read_onnx(data))(torch.from_numpy(x)).numpy(), expected) < 1e-5
        compared += 1
    assert compared >= (1 if alone(case) else 2)


def alone(case: Case) -> bool:
    """Whether a spelling belongs to one opset only."""
    return case.opset == 23 or case.operator == "Upsample" or (case.operator == "Resize" and case.opset == 10)


@pytest.mark.parametrize("case", GOOD, ids=str)
def test_shape_inference_equals_what_runs(case: Case) -> None:
    graph = read_onnx(case.data())
    for node in graph.nodes:
        for batch in (1, 2):
            assert run(node, inputs_of(graph, node, batch, 0)).shape == (batch, *graph.shapes[node.output])


@pytest.mark.parametrize("case", GOOD, ids=str)
def test_lipschitz_rule_bounds_slopes(case: Case) -> None:
    graph = read_onnx(case.data())
    node = the_node(graph, case)
    if node is None:
        return  # it does nothing and was dropped: nothing to bound
    rule = node.operator.lipschitz(*graph.input_shapes(node))
    if isinstance(rule, rules.Unbounded):
        assert rule.reason
        assert rule.remedy
        return
    for seed in range(3):
        inputs = inputs_of(graph, node, 1, seed)
        for scale in (1.0, 1e-6):  # far and near
            others = [
                x + scale * sample(tuple(x.shape[1:]), 1, 100 + seed + node.inputs.index(name))
                for name, x in zip(node.inputs, inputs, strict=True)
            ]
            moved = [float((a - b).norm()) for a, b in zip(inputs, others, strict=True)]
            change = float((run(node, inputs) - run(node, others)).norm())
            assert change <= bound_on_change(rule, moved) * (1 + 1e-12) + 1e-13
        if isinstance(rule, rules.Slope):
            assert np.linalg.norm(jacobian(node, inputs), 2) <= rule.upper * (1 + 1e-12)


def bound_on_change(rule: rules.Rule, moved: list[float]) -> float:
    if isinstance(rule, rules.Slope):
        return rule.upper * moved[0]
    if isinstance(rule, rules.Dense):
        return float(np.linalg.norm(rule.weight.astype(np.float64), 2)) * moved[0]
    if isinstance(rule, rules.Convolution):
        return float(np.linalg.norm(convolution_matrix(rule), 2)) * moved[0]
    if isinstance(rule, rules.Sum):
        return sum(abs(c) * distance for c, distance in zip(rule.coefficients, moved, strict=True))
    assert isinstance(rule, rules.Concat)
    return float(np.linalg.norm(moved))


@pytest.mark.parametrize(
    "case", [case for case in GOOD if case.operator in ("Conv", "ConvTranspose", "Gemm", "MatMul")], ids=str
)
def test_the_matrix_of_a_rule_is_the_operators_matrix(case: Case) -> None:
    graph = read_onnx(case.data())
    node = the_node(graph, case)
    assert node is not None
    rule = node.operator.lipschitz(*graph.input_shapes(node))
    matrix = jacobian(node, inputs_of(graph, node, 1, 0))
    if isinstance(rule, rules.Convolution):
        np.testing.assert_allclose(matrix, convolution_matrix(rule), atol=1e-12)
    elif isinstance(rule, rules.Dense):
        positions = matrix.shape[1] // rule.weight.shape[1]
        np.testing.assert_allclose(matrix, np.kron(np.eye(positions), rule.weight), atol=1e-12)
    else:
        assert isinstance(case.inputs[1], str) or case.inputs[1].ndim > 2  # from the left, of activations, or many


TIGHT = [
    case
    for case in GOOD
    if case.operator
    in (
        *("AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum", "Gather", "Mul", "Div", "BatchNormalization"),
        *("Expand", "Tile", "Split", "DepthToSpace", "SpaceToDepth", "Resize", "Upsample", "Col2Im"),
    )
    or (case.operator == "Pad" and case.attributes.get("mode") != "edge")
]


@pytest.mark.parametrize("case", TIGHT, ids=str)
def test_linear_rules_are_tight(case: Case) -> None:
    """Of a linear operator the Jacobian's norm is the constant itself: the rule is it, rounded up."""
    graph = read_onnx(case.data())
    node = the_node(graph, case)
    if node is None:
        return  # it does nothing and was dropped
    rule = node.operator.lipschitz(*graph.input_shapes(node))
    if isinstance(rule, rules.Unbounded):
        return
    assert isinstance(rule, rules.Slope)
    exact = np.linalg.norm(jacobian(node, inputs_of(graph, node, 1, 0)), 2)
    assert exact * (1 - 1e-13) <= rule.upper
    if case.attributes.get("mode") in ("reflect", "wrap", "cubic"):
        assert (
            rule.upper <= exact * 1.5
        )  # the product of the axes' multiplicities, or the norm of the absolute weights, is an upper bound
    else:
        assert rule.upper <= exact * (1 + 1e-6)


@pytest.mark.parametrize(
    ("attributes", "upper"),
    [
        ({"kernel_shape": [2, 2], "strides": [2, 2]}, 1.0),
        ({"kernel_shape": [3, 3], "strides": [2, 2]}, 2.0),
        ({"kernel_shape": [3, 3], "strides": [1, 1]}, 3.0),
    ],
)
def test_max_pool_constant_is_attained(attributes: dict[str, list[int]], upper: float) -> None:
    """One bright pixel that every window over it shows."""
    case = Case("MaxPool", attributes, shape=(1, 9, 9))
    graph = read_onnx(case.data())
    node = graph.nodes[0]
    assert node.operator.lipschitz((1, 9, 9)) == rules.Slope(upper)
    peak = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    peak[0, 0, 4, 4] = 1
    assert float(run(node, [peak]).norm()) == upper


@pytest.mark.parametrize("case", BAD, ids=str)
def test_refuses_what_it_can_not_honour(case: Case) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        read_onnx(case.data())
    obstacle = caught.value.obstacles[0]
    assert obstacle.operator == case.operator
    assert obstacle.node is not None
    assert len(obstacle.reason) > 10
    assert len(obstacle.remedy) > 10


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_refuses_attributes_it_does_not_know(name: str) -> None:
    case = next(case for case in GOOD if case.operator == name)
    wrong_kinds = [*OPERATORS[name].attributes, "a_new_one"]
    for attribute in wrong_kinds:
        model = onnx.ModelProto.FromString(case.data())
        (node,) = (node for node in model.graph.node if "z" in node.output)
        kept = [entry for entry in node.attribute if entry.name != attribute]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(attribute, [b"one", b"two"])])
        with pytest.raises(UnsupportedModel, match="attribute"):
            read_onnx(model.SerializeToString())


@pytest.mark.parametrize("name", sorted(name for name, cls in OPERATORS.items() if cls.most_inputs < 100))
def test_refuses_inputs_it_does_not_know(name: str) -> None:
    case = next(case for case in GOOD if case.operator == name)
    model = onnx.ModelProto.FromString(case.data())
    (node,) = (node for node in model.graph.node if "z" in node.output)
    node.input.extend([""] * (OPERATORS[name].most_inputs - len(node.input)) + ["x"])
    with pytest.raises(UnsupportedModel, match="inputs, and takes at most"):
        read_onnx(model.SerializeToString())
