"""What is written runs in onnxruntime, at its executor's optimisations, as the graph does in torch."""

from collections import Counter

import pytest
import torch

from radii.execution.executors import ONNXRUNTIME, build
from radii.graph import OPERATORS, read_onnx, to_module
from radii.graph.operator import Operator
from radii.graph.ops.registry import NODES
from radii.graph.pen import Unwritable
from radii.graph.writer import write_onnx
from tests.graph.build import relative_gap
from tests.graph.space import corpus

BATCH, CASES = 3, 8
WRITTEN = {name for name, cls in NODES.items() if cls.written_as_is or cls.write is not Operator.write}


def test_every_operator_that_is_written_equals_torch() -> None:
    seen: Counter[str] = Counter()
    for case in corpus(CASES):
        if case.operator not in OPERATORS or seen[case.operator] >= CASES:
            continue
        graph = read_onnx(case.data())
        try:
            write_onnx(graph)
        except Unwritable:
            continue
        x = torch.randn(BATCH, *graph.input_shape, generator=torch.Generator().manual_seed(0))
        try:
            found = build(ONNXRUNTIME, graph, torch.device("cpu"))(x)
        except ValueError:  # onnxruntime has no kernel for it: the executor is out
            continue
        expected = to_module(graph)(x)
        finite = expected.isfinite()
        assert relative_gap(found[finite].numpy(), expected[finite].numpy()) < 1e-5, case
        seen.update({case.operator, *(type(node.operator).__name__ for node in graph.nodes)})
    assert set(seen) >= WRITTEN


def test_what_is_not_written_is_named() -> None:
    case = next(case for case in corpus() if case.operator == "Tan")
    with pytest.raises(Unwritable, match="Tan"):
        write_onnx(read_onnx(case.data()))
