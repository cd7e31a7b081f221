"""What bounds say of common operators without running them is what running them says."""

import numpy as np
import pytest

from radii.graph import read_onnx
from radii.lipschitz.network import forward, linear
from tests.graph.cases import GOOD


def test_operators_at_zero() -> None:
    seen = set()
    for case in GOOD:
        graph = read_onnx(case.data())
        for node in graph.nodes:
            if not node.operator.zero_at_zero and node.operator.adds is None:
                continue
            told, found = float(forward._norm_at_zero(graph, node)), float(forward._run_at_zero(graph, node))
            assert told == pytest.approx(found, rel=1e-9) and told * (1 + 2.0**-30) + 2.0**-900 >= found, node
            seen.add(node.operator.name)
    assert seen >= {"Abs", "Add", "BatchNormalization", "Conv", "Flatten", "Gemm", "MatMul", "Relu", "Sum", "Tanh"}


def test_linear_operators() -> None:
    seen, rng = set(), np.random.default_rng(0)
    for case in GOOD:
        graph = read_onnx(case.data())
        for node in graph.nodes:
            if node.operator.linear:
                basis = rng.standard_normal((3, *graph.shapes[node.inputs[0]]))
                told = node.operator.linear_part(basis)
                if told is not None:
                    assert told == pytest.approx(linear._run(node, basis), rel=1e-13, abs=1e-15)
                    seen.add(node.operator.name)
    assert seen >= {"GlobalAveragePool", "Flatten", "Reshape"}
