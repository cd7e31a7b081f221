"""The rule for functions spelled out in several nodes: proved slopes against dense evaluation and known constants."""

import math

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mp, mpf
from onnx import TensorProto

from radii.graph import methods, read_onnx, to_module
from radii.graph.cone.expression import Step
from radii.graph.cone.search import steepness
from radii.graph.operator import Operator
from radii.graph.ops import activation as act
from radii.graph.ops import elementwise as arithmetic
from radii.graph.ops import parametric as par
from radii.graph.ops import threshold as thresholds
from radii.graph.rules import Slope
from tests.graph.build import model, node
from tests.graph.functions import (
    ADD,
    CHOICE,
    DIV,
    KNOWN,
    MUL,
    SUB,
    UNARY,
    Steps,
    add,
    cone,
    mul,
    sampled,
)


@pytest.mark.parametrize("name", KNOWN)
def test_known_constants(name: str) -> None:
    steps, exact = KNOWN[name]
    found = steepness(cone(steps).steps)
    assert found is not None
    assert exact * (1 - 1e-15) <= found.upper <= exact * (1 + 5e-12) + 1e-250
    assert sampled(steps) <= found.upper * (1 + 1e-12)
    assert found.loss < 1e-11


def silu(x: mpf) -> mpf:
    return x / (1 + mpmath.exp(-x))


def test_silu_against_forty_digits() -> None:
    with mp.workdps(40):
        exact = mpmath.diff(silu, mpmath.findroot(lambda x: mpmath.diff(silu, x, 2), 2.4))
        found = steepness(cone(KNOWN["silu"][0]).steps)
        assert found is not None
        assert exact <= mpf(found.upper) <= exact * (1 + mpf("5e-12"))
        for alpha in (1.0, -3.0, 0.01):
            stated = par.Swish(alpha).lipschitz((1,))
            assert isinstance(stated, Slope) and stated.interval is not None
            assert exact <= mpf(stated.upper) <= exact * (1 + mpf("5e-12"))
            assert stated.interval[1] == stated.upper
            assert (1 - exact) * (1 + mpf("5e-11")) <= mpf(stated.interval[0]) <= 1 - exact


@pytest.mark.parametrize(
    "steps",
    [
        [(MUL, (0, 0))],
        [(par.Pow(2.0), (0,))],
        [(act.Relu(), (0,)), (MUL, (0, 1))],
        [(act.Exp(), (0,))],
        [(act.Relu(), (0,)), (act.Sqrt(), (1,))],
        [(arithmetic.Div(np.array(1.0), True), (0,))],
        [(act.Tanh(), (0,)), (DIV, (0, 1))],  # 0/0 at 0: bounded, and not provable here
        [(act.Exp(), (0,)), (act.Neg(), (0,)), (act.Exp(), (2,)), (ADD, (1, 3))],
        [(par.Pow(0.3), (0,))],
        [(add(1e12), (0,)), (add(-1e12), (1,)), (act.Sigmoid(), (2,)), (MUL, (0, 3))],  # float64 loses 1e-4 there
    ],
)
def test_what_has_no_bound_or_none_that_floats_keep_is_refused(steps: Steps) -> None:
    assert steepness(cone(steps).steps) is None


@pytest.mark.parametrize("operator", UNARY, ids=lambda operator: operator.name)
def test_one_operator_alone_has_its_own_constant(operator: Operator) -> None:
    """The interval rule of an operator against the rule it states itself, and against what it computes."""
    found = steepness((Step(operator, (0,)),))
    assert found is not None
    stated = operator.lipschitz((1,))
    upper = stated.upper if hasattr(stated, "upper") else abs(stated.coefficients[0])  # type: ignore[union-attr]
    assert found.upper <= upper * (1 + 5e-12)
    assert sampled([(operator, (0,))]) <= found.upper * (1 + 1e-12)


def test_softplus_with_a_guard_jumps_a_little() -> None:
    """torch's softplus is x beyond 20: there it falls by log(1 + e^-20), which the loss counts twice."""
    jump = math.log1p(math.exp(-20))
    for inner in (
        [(act.Softplus(), (0,))],
        [(act.Exp(), (0,)), (add(1.0), (1,)), (act.Log(), (2,))],
    ):
        last = len(inner)
        steps: Steps = [*inner, (thresholds.Greater(np.array(20.0)), (0,)), (CHOICE, (last + 1, 0, last))]
        found = steepness(cone(steps).steps)
        assert found is not None
        assert 1.0 <= found.upper <= 1 + 1e-11
        assert 2 * jump <= found.loss <= 5 * jump  # the cell that changes over may be counted with its neighbour


def test_a_continuous_choice_does_not_jump() -> None:
    """ELU by hand: x where it is positive, else exp(x) - 1."""
    steps: Steps = [
        (act.Exp(), (0,)),
        (add(-1.0), (1,)),
        (thresholds.Greater(np.array(0.0)), (0,)),
        (CHOICE, (3, 0, 2)),
    ]
    found = steepness(cone(steps).steps)
    assert found is not None
    assert 1.0 <= found.upper <= 1 + 1e-11
    assert found.loss < 1e-11


def test_thresholds_that_matter_are_refused() -> None:
    zero = mul(0.0)
    step: Steps = [(thresholds.Greater(np.array(0.5)), (0,))]
    masked: Steps = [*step, (MUL, (0, 1))]
    wavy: Steps = [
        (MUL, (0, 0)),
        (thresholds.Greater(np.array(0.0)), (1,)),
        (act.Tanh(), (0,)),
        (zero, (0,)),
        (CHOICE, (2, 3, 4)),
    ]
    for steps in (step, masked, wavy):
        assert steepness(cone(steps).steps) is None


def test_what_is_not_a_number_is_no_value_that_a_bound_may_overlook() -> None:
    """x + IsNaN(log x) jumps at 0, where the logarithm ends."""
    nodes = [
        node("Log", ["x"], "l"),
        node("IsNaN", ["l"], "n"),
        node("Cast", ["n"], "c", to=TensorProto.FLOAT),
        node("Add", ["c", "x"]),
    ]
    graph = read_onnx(model(nodes, (2,)))
    low, high = to_module(graph)(torch.tensor([[-1e-6, 1e-6]]))[0]
    assert low - high > 0.9
    assert [reason["operator"] for reason in methods(graph)[1]["reasons"]] == ["Log"]


def test_shrinkage_and_thresholds_inside_of_a_cone() -> None:
    """max(|x| - l, 0) sign x as Shrink has it, times a gate; a threshold that is no jump, and one that is."""
    soft = thresholds.Shrink(0.5, 0.5)
    gated: Steps = [(soft, (0,)), (act.Sigmoid(), (1,)), (MUL, (1, 2))]
    found = steepness(cone(gated).steps)
    assert found is not None
    assert 1.099839320128 <= found.upper <= 1.099839320129 * (1 + 1e-9)  # silu of x - l, shifted
    assert sampled(gated) <= found.upper * (1 + 1e-12)
    assert found.loss < 1e-11
    harmless: Steps = [(act.Softplus(), (0,)), (thresholds.ThresholdedRelu(-1.0), (1,)), (add(0.0), (2,))]
    found = steepness(cone(harmless).steps)
    assert found is not None
    assert 1.0 <= found.upper <= 1 + 1e-11
    squared: Steps = [(thresholds.ThresholdedRelu(1e-9), (0,)), (act.Tanh(), (1,)), (SUB, (1, 2))]  # jumps by 1e-27
    found = steepness(cone(squared).steps)
    assert found is not None
    assert 1.0 <= found.upper <= 1 + 1e-9
    for operator in (thresholds.ThresholdedRelu(1.0), thresholds.Shrink(0.5, 0.0), thresholds.Shrink(-0.5, -0.5)):
        assert steepness(cone([(operator, (0,)), (act.Tanh(), (1,))]).steps) is None
