"""Every operator over its whole space (tests/graph/space): one suite of properties.

* Where onnxruntime (optimisation off) runs a node, so do we, with the same answer, in float32 and float64; what it
  does not run we refuse.
* The shapes of the graph are those that run, whatever the batch; so are vmap, bfloat16 and derivatives.
* The bound of the network is above every slope found: the norms of Jacobians at points of many sizes, the pairs along
  their steepest directions from very near to far. Of a linear operator it is its matrix' norm, or near it.
* What is out of range is refused, with the operator, its node, a reason and a remedy; never another exception.

The examples are the same every time; ``RADII_TEST_FACTOR=50`` draws so many times more, afresh.
"""

import re
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import assume, given
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from radii.graph import OPERATORS, Graph, UnsupportedModel, operators, read_onnx, rules, to_module
from radii.lipschitz import UnboundedModel, network_bound
from tests.graph.build import reference, relative_gap
from tests.graph.case import Case
from tests.graph.matrices import rule_matrix
from tests.graph.space import SPACES, cases, damaged, examples, versions

NOT_RUN = (
    *(runtime.InvalidArgument, runtime.InvalidGraph, runtime.Fail, runtime.NotImplemented),
    *(runtime.RuntimeException, runtime.InvalidProtobuf),
)
BATCH = 2


def test_every_operator_has_a_space_and_a_description() -> None:
    assert set(SPACES) == set(OPERATORS), "give every operator a space, in tests/graph/space"
    listed = operators()
    assert [entry["name"] for entry in listed] == sorted(OPERATORS)
    assert all(entry["lipschitz"] for entry in listed)


def samples(case: Case, batch: int = BATCH) -> np.ndarray:
    """Of a seed with no two neighbours nearly equal: what a norm without epsilon makes of those is all rounding."""
    return np.random.default_rng(305).normal(size=(batch, *case.shape)).astype(np.float32)


def expected(case: Case) -> np.ndarray | str:
    """What onnxruntime makes of it, or why it does not."""
    try:
        made = reference(case.data(), samples(case))
    except NOT_RUN as problem:
        return f"{type(problem).__name__}: {problem}"
    assume(made.ndim == 2 and made.shape[0] == BATCH and made.shape[1] > 1)  # a classifier
    return made


def specified(case: Case) -> np.ndarray | None:
    """What the reference implementation of the specification makes of it; None: nothing, it does not know how."""
    try:
        made: np.ndarray = ReferenceEvaluator(case.data()).run(None, {"x": samples(case)})[0]  # type: ignore[index]
        return made
    except Exception:
        return None


def operators_of(case: Case) -> set[str]:
    """Those of the file: the operator, what makes its inputs, and what makes logits of its output."""
    return {node.op_type for node in onnx.ModelProto.FromString(case.data()).graph.node}


def read(case: Case) -> Graph | UnsupportedModel:
    """The graph, or a refusal that names this operator, why, and what to do."""
    try:
        return read_onnx(case.data())
    except UnsupportedModel as refused:
        for obstacle in refused.obstacles:
            assert len(obstacle.reason) > 10
            assert len(obstacle.remedy) > 10
            assert obstacle.node is None or obstacle.operator in operators_of(case)
        return refused


def outputs_agree(case: Case, graph: Graph, truth: np.ndarray) -> None:
    x = torch.from_numpy(samples(case))
    single, double = to_module(graph)(x), to_module(graph, dtype=torch.float64)(x.double())
    assert double.dtype == torch.float64
    for found in (single, double):
        assert relative_gap(found.numpy(), truth) < 1e-5
    if all(node.operator.exact for node in graph.nodes):  # no rounding: the same numbers
        assert torch.equal(single.double(), double)


def shapes_run(graph: Graph) -> None:
    values = {graph.input: torch.rand(3, *graph.input_shape, dtype=torch.float64)}
    for node in graph.nodes:
        values[node.output] = node.operator.run([values[name] for name in node.inputs], tensors(node.operator))
        assert values[node.output].shape == (3, *graph.shapes[node.output])


def tensors(operator: Any) -> dict[str, torch.Tensor]:
    return {
        name: torch.from_numpy(np.array(array, np.float64 if array.dtype.kind == "f" else array.dtype))
        for name, array in operator.arrays().items()
    }


def points(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Tiny, usual and huge ones, nearly constant ones, one bright entry."""
    noise = torch.randn(7, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    scale = torch.tensor([1e-6, 1e-2, 1.0, 3.0, 100.0, 1e-5, 1e-3], dtype=torch.float64)
    x = noise * scale.reshape(-1, *[1] * len(shape))
    x[5] += 1.0
    x[6].view(-1)[seed % x[6].numel()] += 3.0
    return x


def slopes_bounded(case: Case, graph: Graph) -> None:
    module = to_module(graph, dtype=torch.float64)
    x = points(graph.input_shape)
    y = module(x)

    def row(sample: torch.Tensor) -> torch.Tensor:
        return module(sample[None])[0]

    assert torch.allclose(torch.func.vmap(row)(x), y, rtol=1e-9, atol=1e-10 * float(y.abs().max()))
    jacobian = torch.func.vmap(torch.func.jacrev(row))(x).reshape(len(x), graph.num_classes, -1)
    found = to_module(graph, dtype=torch.bfloat16)(x.bfloat16())
    assert found.dtype == torch.bfloat16
    assert found.shape == y.shape
    try:
        upper = network_bound(graph, task="regressor").upper
    except UnboundedModel as problem:
        assert {obstacle.operator for obstacle in problem.obstacles} <= operators_of(case)
        assert re.search("unbounded|jumps", OPERATORS[case.operator].behaviour)
        return
    assert torch.isfinite(jacobian).all()
    _, steepest, directions = torch.linalg.svd(jacobian, full_matrices=False)
    most = float(steepest[:, 0].max())
    assert most <= upper * (1 + 1e-9)
    for distance in (1e-5, 1e-1, 1e3):
        other = x + distance * directions[:, 0].reshape(x.shape)
        change = (module(other) - y).flatten(1).norm(dim=1)
        moved = (other - x).flatten(1).norm(dim=1)
        assert (change <= upper * moved * (1 + 1e-9) + 1e-13 * y.flatten(1).norm(dim=1)).all()
    if sum(isinstance(value, str) and value != "" for value in case.inputs) == 1:
        matrix_known(case, graph, jacobian[2].numpy(), upper)


def matrix_known(case: Case, graph: Graph, jacobian: np.ndarray, upper: float) -> None:
    """What is known of a linear operator on one activation: the very matrix of its rule, or how tight its bound is."""
    for node in graph.nodes:
        rule = node.operator.lipschitz(*graph.input_shapes(node))
        if isinstance(rule, rules.Dense | rules.Convolution):
            positions = int(np.prod(graph.shapes[node.inputs[0]][:-1]))
            np.testing.assert_allclose(jacobian, rule_matrix(rule, positions), atol=1e-12)
    tight = SPACES[case.operator].tight
    if tight is not None:
        assert upper <= tight * np.linalg.norm(jacobian, 2) * (1 + 1e-12)


def check(case: Case) -> str:
    """All properties of one case; which way it went."""
    space, answer, found = SPACES[case.operator], expected(case), read(case)
    if isinstance(found, UnsupportedModel):
        assert isinstance(answer, str) or (space.refused and re.search(space.refused, str(found))), str(found)
        return "refused"
    if isinstance(answer, str):
        assert "NotImplemented" in answer or (space.accepted and re.search(space.accepted, answer)), answer
    truth = specified(case) if isinstance(answer, str) else answer
    if truth is not None:
        outputs_agree(case, found, truth)
    shapes_run(found)
    slopes_bounded(case, found)
    return "run" if truth is None else "compared"


@pytest.mark.parametrize(
    ("operator", "version"), [(name, since) for name in sorted(SPACES) for since in versions(name)]
)
def test_properties(operator: str, version: int) -> None:
    went = []

    @examples(8)
    @given(cases(operator, version))
    def suite(case: Case) -> None:
        went.append(check(case))

    suite()
    assert went.count("compared") >= 0.2 * len(went), "much of the space should be compared"


HARMLESS = "|".join(  # what onnxruntime refuses for its form alone
    [
        "must be a vector|must be a 1-D array|one-dimensional tensor of size 1",  # a number for a list of one
        "Starts and (axes|steps) shape mismatch",  # the same
        "Type Error: Type 'tensor|marked single",  # truth values and ratios of other types, inputs left out by name
        "Unsupported pooling size",  # of more than three axes
    ]
)


@pytest.mark.parametrize("operator", sorted(SPACES))
def test_what_is_out_of_range_is_refused(operator: str) -> None:
    """One value of a case is off: we refuse it, or it is none that matters, and onnxruntime has the same answer."""

    @examples(15)
    @given(damaged(cases(operator)))
    def suite(case: Case) -> None:
        found = read(case)
        if isinstance(found, UnsupportedModel):
            return
        truth = expected(case)
        if isinstance(truth, str):
            assert re.search(f"NotImplemented|{HARMLESS}|{SPACES[operator].accepted or '$^'}", truth), truth
        elif np.isfinite(truth).all():
            outputs_agree(case, found, truth)
        shapes_run(found)

    suite()
