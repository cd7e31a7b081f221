"""A new operator is one file in radii/graph/ops: shown by adding one. What else names operators says why."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from radii.graph import OPERATORS, UnsupportedModel, from_canonical, operators, ops, read_onnx, schema, to_canonical
from radii.graph import to_module as module_of
from radii.graph.ops.registry import NODES
from radii.graph.writer import write_onnx
from radii.lipschitz import network_bound
from tests.graph.build import model, node, reference, relative_gap

ROOT = Path(__file__).parents[2]

FILE = '''
"""Running sums."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from radii.graph.bounds import up
from radii.graph.errors import hold
from radii.graph.operator import Operator
from radii.graph.ops.layout import check_axes, sample_axis
from radii.graph.ops.registry import onnx_operator
from radii.graph.rules import Slope


@onnx_operator(inputs=2, exclusive="flag", reverse="flag")
@dataclass(frozen=True, eq=False)
class CumSum(Operator):
    behaviour = "spectral norm of a triangle of ones"
    linear = zero_at_zero = True
    axis: int

    @classmethod
    def read(cls, call):
        x, axis = call.activation(), call.constant(1)
        hold(not call.get("exclusive", 0) and not call.get("reverse", 0), "it sums backwards, or leaves one out")
        return cls(sample_axis(int(axis.reshape(())), x.rank))

    def check(self, *inputs):
        check_axes((self.axis,), inputs[0])

    def run(self, inputs, arrays):
        return torch.cumsum(inputs[0], self.axis + 1)

    def shape(self, *inputs):
        return inputs[0]

    def lipschitz(self, *inputs):
        return Slope(up(1 / (2 * math.sin(math.pi / (4 * inputs[0][self.axis] + 2)))))

    def write(self, pen, inputs, output, shapes):
        pen.node("CumSum", [*inputs, pen.constant(np.array(self.axis + 1))], output)
'''

RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": RNG.standard_normal((6, 8)).astype(np.float32),
    "v": RNG.standard_normal((8, 3)).astype(np.float32),
    "axis": np.array(1),
}


def network(*between: str) -> bytes:
    """Gemm, CumSum, these, Gemm."""
    nodes, last = [node("Gemm", ["x", "w"], "a"), node("CumSum", ["a", "axis"], "b")], "b"
    for name in between:
        nodes.append(node(name, [last], f"{last}{name}"))
        last = f"{last}{name}"
    return model([*nodes, node("Gemm", [last, "v"])], (6,), WEIGHTS)


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The file stands in the folder of operators, and is found."""
    (tmp_path / "sums.py").write_text(FILE)
    monkeypatch.setattr(ops, "__path__", [*ops.__path__, str(tmp_path)])
    ops.discover()
    yield
    del OPERATORS["CumSum"], NODES["CumSum"], sys.modules["radii.graph.ops.sums"]
    delattr(ops, "sums")


def test_without_its_file_it_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="CumSum"):
        read_onnx(network())


@pytest.mark.usefixtures("added")
def test_adding_an_operator_takes_one_file() -> None:
    graph = read_onnx(network("Relu"))
    x = RNG.standard_normal((5, 6)).astype(np.float32)
    truth = reference(network("Relu"), x)
    assert relative_gap(module_of(graph)(torch.from_numpy(x)).numpy(), truth) < 1e-5
    again = from_canonical(*to_canonical(graph))
    assert again.digest == graph.digest
    assert relative_gap(module_of(again)(torch.from_numpy(x)).numpy(), truth) < 1e-5
    assert relative_gap(reference(write_onnx(graph), x), truth) < 1e-5
    listed = {entry["name"]: entry for entry in operators()}
    assert listed["CumSum"]["family"] == "sums" and listed["CumSum"]["attributes"] == ["exclusive", "reverse"]
    assert "CumSum" in schema.schema()["$defs"]

    bound = network_bound(graph)
    w, v = (WEIGHTS[name].astype(np.float64).T for name in "wv")
    sums = np.tril(np.ones((8, 8)))
    masks = (RNG.random((200, 8)) < 0.5).astype(np.float64)
    slopes = [np.linalg.norm((v * mask) @ sums @ w, 2) for mask in masks]  # of regions of the network, real or not
    layers = np.linalg.norm(sums @ w, 2) * np.linalg.norm(v, 2)
    assert max(slopes) <= bound.upper <= layers * (1 + 1e-5)


@pytest.mark.usefixtures("added")
def test_bounds_look_through_it_as_it_says() -> None:
    """It is linear, so the network is, whose constant is the norm of a product of three matrices."""
    bound = network_bound(read_onnx(network()))
    w, v = (WEIGHTS[name].astype(np.float64).T for name in "wv")
    exact = np.linalg.norm(v @ np.tril(np.ones((8, 8))) @ w, 2)
    assert exact <= bound.upper <= exact * (1 + 1e-5)


# Who names operators outside of their folder. These make some, and ask of none which it is:
MAKERS = {
    "radii/graph/cone/find.py": "L x - f(x) beside a cone, whose steepness is the least slope of f",
    "radii/graph/ends.py": "logits of another shape made flat",
    "radii/graph/nodes.py": "a reshape between two views, a constant as an activation",
    "radii/graph/probabilities.py": "0 beside the logit of what ends in its probability",
    "radii/graph/reader.py": "0 beside the logit of a binary classifier",
    "radii/lipschitz/network/joins.py": "runs a sum of convolutions, which is one",
    "radii/local/instance.py": "the inequalities of a property behind a network's outputs",
    "radii/lipschitz/network/copies.py": "entries cut out and joined as one Gather",
}
# And these have another reason:
NAMERS = {
    "radii/graph/architectures/builder.py": "writes the networks of named architectures",
    "radii/graph/cone/expression.py": "knows log(exp(u) + 1), three operators together",
    "radii/graph/element_types.py": "asks of a file, not of a graph, what type a Cast makes",
    "radii/graph/folding/arithmetic.py": "a registry of its own: what files compute of constants",
    "radii/graph/folding/indices.py": "a registry of its own",
    "radii/graph/folding/layout.py": "a registry of its own",
    "radii/graph/folding/quantised.py": "a registry of its own",
    "radii/graph/folding/sources.py": "a registry of its own",
    "radii/graph/folding/sums.py": "a registry of its own",
    "radii/graph/applicability.py": "writes the normalisation of an input",
    "radii/lipschitz/network/choices.py": "knows a comparison and a choice of what it compares, two operators together",
    "radii/lipschitz/network/expansion.py": "an algebra of its own: what operators make of affine forms",
    "radii/lipschitz/network/means.py": "an algebra of its own: what operators make of means",
    "radii/local/network.py": "knows the product of two activations, which multiplies no constant",
    "radii/local/rewritten.py": "knows what several operators together are the same function as",
    "radii/graph/quantised.py": "reads several nodes of a file as one",
    "radii/graph/spelled.py": "what files call by other names: Erfc, what scikit-learn writes, quantised units",
    "radii/graph/units.py": "asks of a file what stands between quantised values",
    "radii/graph/writer.py": "names the output of a file by an Identity",
    "workers/intake/read_model.py": "asks of a file whether it rounds to float16",
}


def test_nobody_else_tells_operators_apart() -> None:
    makers, namers = set(), set()
    for folder in ("app", "models", "radii", "workers"):
        for path in (ROOT / folder).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith("radii/graph/ops/"):
                tree = ast.parse(path.read_text())
                makers |= {name} if imported(tree) else set()
                namers |= {name} if told_apart(tree) else set()
    assert namers == set(NAMERS)
    assert makers - namers == set(MAKERS)


def told_apart(tree: ast.Module) -> list[str]:
    """Where a module names an operator: by its name as a string, or its class other than to make one."""
    classes = imported(tree)
    made = {id(call.func) for call in ast.walk(tree) if isinstance(call, ast.Call)}
    strings = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and n.value in (OPERATORS.keys() | NODES)]
    names = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id in classes]
    return [*strings, *(n.id for n in names if id(n) not in made)]


def imported(tree: ast.Module) -> set[str]:
    """What a module imports of operators: classes, or a file of them."""
    return {
        alias.asname or alias.name
        for statement in ast.walk(tree)
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("radii.graph.ops")
        for alias in statement.names
        if isinstance(getattr(sys.modules[statement.module or ""], alias.name), type | ModuleType)
    }
