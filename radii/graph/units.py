"""The units of a QDQ file: nodes between DequantizeLinear and QuantizeLinear that onnxruntime runs as one kernel.

A file may say ``Q(Conv(DQ(x), DQ(w), DQ(b)))``; onnxruntime computes that in integers, and so do we. Here such nodes
are found by their wiring, and one node of the domain ``DOMAIN`` stands in the list in place of the last of them. They
are left where they are otherwise, for what else needs them. What a unit does: :mod:`radii.graph.quantised`.
"""

from collections import Counter
from collections.abc import Sequence
from math import prod
from typing import Any

DOMAIN, SUFFIX = "radii.units", "OfSteps"
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
SUMS = ("Conv", "Gemm", "MatMul")
PAIRS = ("Add", "Mul")
OTHERS = ("AveragePool", "GlobalAveragePool", "Softmax")
BYTES, KINDS = (2, 3), (2, 3, 4, 5)  # TensorProto.DataType of steps of 8 bits, of 8 or 16
# These move entries, or choose some, so they may as well do it to steps.
MOVES = ("Flatten", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
INT, FLAG = 2, "relu"  # AttributeProto.AttributeType


def with_units(graph: Any) -> list[tuple[int, Any]]:
    """The nodes of a graph, each with its position in the file, and its units among them."""
    if not any(node.op_type in (QUANTIZE, DEQUANTIZE) for node in graph.node):
        return list(enumerate(graph.node))
    return _Finder(graph).nodes()


def written_as(node: Any) -> str:
    """The operator of a node in the file; of a unit, of the node that it is around."""
    name: str = node.op_type
    return name.removesuffix(SUFFIX) if node.domain == DOMAIN else name


class _Finder:
    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.maker = {name: node for node in graph.node for name in node.output if name}
        self.users: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                self.users.setdefault(name, []).append(node)
        self.outputs = Counter(value.name for value in graph.output)
        self.moved: dict[str, Any] = {}  # by the output of a move of floats, the same of steps

    def nodes(self) -> list[tuple[int, Any]]:
        position = {id(node): index for index, node in enumerate(self.graph.node)}
        made: dict[int, tuple[int, Any]] = {}
        for index, node in enumerate(self.graph.node):
            unit = self.unit(node)
            if unit is not None:
                last, found = unit
                made[position[id(last)]] = (index, found)
        listed: list[tuple[int, Any]] = []
        for index, node in enumerate(self.graph.node):
            listed.append(made.get(index, (index, self.typed(node))))
            moved = next((self.moved[name] for name in node.output if name in self.moved), None)
            if moved is not None:
                listed.append((index, moved))
        return listed

    def typed(self, node: Any) -> Any:
        """A QuantizeLinear to steps of other than 8 or 16 bits says so: two of four bits are held as those of 8."""
        if node.op_type != QUANTIZE or self.kind(self.pair(node, "")) in (0, *KINDS):
            return node
        copy = type(node)()
        copy.CopyFrom(node)
        copy.attribute.add(name="output_dtype", type=INT, i=self.kind(self.pair(node, "")))
        return copy

    def unit(self, node: Any) -> tuple[Any, Any] | None:
        """The node in whose place the unit around this one stands, and the unit."""
        if node.domain not in ("", "ai.onnx") or len(node.output) != 1:
            return None
        if node.op_type in SUMS and len(node.input) in (2, 3):
            return self.sum(node)
        count = 2 if node.op_type in PAIRS else 1 if node.op_type in OTHERS else 0
        if not count or len(node.input) != count:
            return None
        last = self.only_user(node)
        sources = [self.steps(name) for name in node.input]
        if last is None or last.op_type != QUANTIZE or any(source is None for source in sources):
            return None
        pairs = [*(source for source in sources if source is not None), self.pair(last, "")]
        if len({self.kind(pair) for pair in pairs}) > 1 or self.kind(pairs[0]) not in BYTES:
            return None
        if not all(self.is_one(pair[1]) for pair in pairs):
            return None
        inputs = [name for pair in pairs for name in pair]
        return last, self.made(node, inputs[:-3] + inputs[-2:], last)

    def sum(self, node: Any) -> tuple[Any, Any] | None:
        x, w = self.steps(node.input[0]), self.stored(node.input[1])
        b = self.stored(node.input[2]) if len(node.input) == 3 and node.input[2] else ("", "", "")
        if x is None or w is None:
            return None
        if b is None:
            if node.input[2] not in self.constants:
                return None
            b = (node.input[2], "", "")
        last, behind, relu = node, self.only_user(node), None
        if behind is not None and behind.op_type == "Relu":
            relu, behind = behind, self.only_user(behind)
        y = ("", "", "")
        if behind is not None and behind.op_type == QUANTIZE and self.typed(behind) is behind:
            last, y = behind, self.pair(behind, "")
        else:
            relu = None
        made = self.made(node, [*x, *w, *b, *y[1:]], last)
        dequantize = self.maker[node.input[1]]
        for attribute in dequantize.attribute:
            if attribute.name in ("axis", "block_size"):
                made.attribute.add(name=f"w_{attribute.name}", type=INT, i=attribute.i)
        if relu is not None:
            made.attribute.add(name=FLAG, type=INT, i=1)
        return last, made

    def made(self, node: Any, inputs: Sequence[str], last: Any) -> Any:
        unit = type(node)(op_type=node.op_type + SUFFIX, domain=DOMAIN, name=node.name)
        unit.attribute.extend(node.attribute)
        unit.input.extend(inputs)
        unit.output.extend(last.output)
        return unit

    def only_user(self, node: Any) -> Any | None:
        """The node that reads its output, where one alone does, and does nothing else with it."""
        if len(node.output) != 1:
            return None
        users = self.users.get(node.output[0], [])
        if len(users) != 1 or node.output[0] in self.outputs or list(users[0].output).count("") or users[0].domain:
            return None
        return users[0] if users[0].input[0] == node.output[0] else None

    def pair(self, node: Any, x: str) -> tuple[str, str, str]:
        """``x``, and the scale and the zero point of a QuantizeLinear or DequantizeLinear."""
        names = [*list(node.input), "", "", ""]
        return x, names[1], names[2]

    def steps(self, name: str) -> tuple[str, str, str] | None:
        """The steps that an activation of floats stands for, with their pair."""
        node = self.maker.get(name)
        if node is None or node.domain or not node.input:
            return None
        if node.op_type == DEQUANTIZE and len(node.input) in (2, 3):
            return None if self.is_constant(node.input[0]) else self.pair(node, node.input[0])
        if node.op_type not in MOVES or len(node.output) != 1:
            return None
        below = self.steps(node.input[0])
        if below is None or not self.is_one(below[1]):
            return None
        if name not in self.moved:
            self.moved[name] = type(node)()
            self.moved[name].CopyFrom(node)
            self.moved[name].input[0], self.moved[name].output[0] = below[0], f"{name}/steps"
        return (self.moved[name].output[0], *below[1:])

    def stored(self, name: str) -> tuple[str, str, str] | None:
        """The stored integers that a constant of floats stands for, with their pair."""
        node = self.maker.get(name)
        if node is None or node.op_type != DEQUANTIZE or node.domain or len(node.input) not in (2, 3):
            return None
        return self.pair(node, node.input[0]) if self.is_constant(node.input[0]) else None

    def is_constant(self, name: str) -> bool:
        """Whether it is stored, perhaps as floats that are quantised when the file is read."""
        if name in self.constants or name not in self.maker:
            return name in self.constants
        node = self.maker[name]
        return node.op_type == "Constant" or (node.op_type == QUANTIZE and self.is_constant(node.input[0]))

    def is_one(self, name: str) -> bool:
        """Whether it is one stored number."""
        return name in self.constants and prod(self.constants[name].dims) == 1

    def kind(self, pair: tuple[str, str, str]) -> int:
        """The type of steps with this pair, by number; 0: not known."""
        zero = pair[2]
        return 2 if not zero else self.constants[zero].data_type if zero in self.constants else 0
