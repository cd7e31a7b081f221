"""ONNX bytes to a checked graph. This is the only module that meets protobuf, and it imports onnx when called."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from math import isfinite, prod
from typing import Any

import numpy as np

from radii.graph.attributes import DEFAULT_DOMAIN, read_attributes
from radii.graph.call import Activation, Call, Value
from radii.graph.errors import Obstacle, Refusal, UnsupportedModel
from radii.graph.folding import FOLDS, fold
from radii.graph.ir import Graph, Node, Operator
from radii.graph.joined import axes_apart
from radii.graph.limits import DEFAULTS, Limits
from radii.graph.ops import OPERATORS
from radii.graph.ops.copies import Parameter, repeated
from radii.graph.ops.layout import Identity
from radii.graph.remedies import quoted, remedy_for_bytes
from radii.graph.simplify import simplify
from radii.graph.tensors import MissingFile, Tensors

OLDEST, NEWEST = 8, 23  # opsets of the default domain
FLOATS = (1, 10, 11)  # TensorProto.FLOAT, FLOAT16, DOUBLE: all run in what `to_module` is asked for
SHAPE_ONLY = ("Shape", "Size")  # known at import even for an activation

# What a node that contradicts itself makes numpy or Python raise. Reading has no side effects, so all of them
# mean the same: this node can't be read.
_MALFORMED = (ArithmeticError, LookupError, TypeError, ValueError, MemoryError)


def read_onnx(
    data: bytes,
    *,
    external_data: Mapping[str, bytes] | None = None,
    output: str | None = None,
    limits: Limits = DEFAULTS,
) -> Graph:
    """The graph of an ONNX file (opset 8-23, default domain) with one input and logits (batch, classes).

    ``external_data`` holds the files that weights lie in, by the name the export gave them; ``output`` names one
    of several outputs. Raises `UnsupportedModel` with everything that stands in the way, whatever the bytes are.
    """
    if len(data) > limits.file_bytes:
        raise _refused(f"the file has {len(data)} bytes, over the limit of {limits.file_bytes}", "Use a smaller model")
    foreign = remedy_for_bytes(data)
    if foreign:
        raise _refused(*foreign)
    try:
        with np.errstate(all="ignore"):  # what overflows is refused by name, not warned of
            return _Reader(_parse(data), external_data or {}, limits).graph(output)
    except UnicodeDecodeError:
        raise _refused("a name in the file is not text", "Export the model again") from None


def _refused(reason: str, remedy: str) -> UnsupportedModel:
    return UnsupportedModel([Obstacle(None, "", reason, remedy)])


def _parse(data: bytes) -> Any:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx import ModelProto

    try:
        model = ModelProto.FromString(data)
    except DecodeError:
        raise _refused(
            "the file is not ONNX, or is cut off", "Upload the file that torch.onnx.export wrote, whole"
        ) from None
    if not model.HasField("graph"):
        raise _refused("the file holds no graph", "Upload the file that torch.onnx.export wrote")
    return model


class _Reader:
    """One pass over one file. ``values`` maps the file's names to what is known; None: refused upstream."""

    def __init__(self, model: Any, external: Mapping[str, bytes], limits: Limits) -> None:
        self.model, self.file, self.limits = model, model.graph, limits
        self.tensors = Tensors(external, limits)
        self.obstacles: list[Obstacle] = []
        self.missing: Counter[str] = Counter()
        self.values: dict[str, Value | None] = {}
        self.nodes: list[Node] = []
        self.initializers: dict[str, Any] = {}
        self.fixed_batch = False
        self.joined: dict[str, int] = {}  # activations whose batch is joined with an axis, by id: the node that did it
        self.source: tuple[Activation, ...] = ()  # the input: what a constant of every sample takes its batch from
        self.opset = 0

    def obstacle(self, reason: str, remedy: str, node: int | None = None) -> None:
        operator = "" if node is None else ascii(self.file.node[node].op_type[:80])[1:-1]
        self.obstacles.append(Obstacle(node, operator, reason, remedy))

    def graph(self, output: str | None) -> Graph:
        if len(self.file.node) > self.limits.nodes:
            raise _refused(
                f"the graph has {len(self.file.node)} nodes, over the limit of {self.limits.nodes}",
                "Use a smaller model, or unroll less",
            )
        self.check_opset()
        self.index_initializers()
        source = self.read_input()
        name = self.choose_output(output)
        if name is None:
            raise UnsupportedModel(self.obstacles)
        live = self.live(name)
        for index, node in enumerate(self.file.node):
            if index in live:
                self.read_node(index, node, live[index])
        result = self.values.get(name) if name in self.values else self.initializer(name, None)
        self.check_result(name, result)
        for file, count in self.missing.items():
            self.obstacle(
                f"the weights of {count} tensors lie in the file {quoted(file)}, which is not here",
                f"Give that file too, under its name, as external data (external_data={{{quoted(file)}: ...}}), "
                "or export with external_data=False",
            )
        if self.obstacles or source is None or not isinstance(result, Activation):
            raise UnsupportedModel(self.obstacles)
        return self.finished(source, result)

    def finished(self, source: Activation, result: Activation) -> Graph:
        graph = simplify(Graph.build(source.id, source.shape, result.id, self.nodes))
        for node in graph.nodes:
            if not _finite(node.operator):
                self.obstacle("a weight overflows when it is multiplied out", "Train the model again", node.index)
        if self.obstacles:
            raise UnsupportedModel(self.obstacles)
        peak = graph.peak_elements()
        if peak > self.limits.activation_elements:
            raise _refused(
                f"one sample needs {peak} activation entries at once, over the limit of "
                f"{self.limits.activation_elements}",
                "Use a smaller input or a smaller model",
            )
        return graph

    # The file as a whole

    def check_opset(self) -> None:
        versions = [entry.version for entry in self.model.opset_import if entry.domain in DEFAULT_DOMAIN]
        self.opset = versions[0] if versions else 0
        if len(versions) != 1 or not OLDEST <= self.opset <= NEWEST:
            self.obstacle(
                f"the opset is {versions[0] if len(versions) == 1 else 'not given once'}, "
                f"supported are {OLDEST} to {NEWEST}",
                "Export with opset_version=18",
            )

    def index_initializers(self) -> None:
        for tensor in self.file.initializer:
            if tensor.name in self.initializers:
                self.obstacle(f"two constants are called {quoted(tensor.name)}", "Export the model again")
            self.initializers[tensor.name] = tensor

    def read_input(self) -> Activation | None:
        inputs = [value for value in self.file.input if value.name not in self.initializers]
        if len(inputs) != 1:
            names = ", ".join(quoted(value.name) for value in inputs[:10]) or "none"
            self.obstacle(
                f"a model has exactly one input, this one has {len(inputs)} ({names})",
                "Wrap the model so that it takes one tensor, and export the wrapper",
            )
            self.values.update(dict.fromkeys((value.name for value in inputs), None))
            return None
        (value,) = inputs
        self.values[value.name] = None
        tensor = value.type.tensor_type
        if tensor.elem_type not in FLOATS:
            self.obstacle("the input is not a float32 tensor", "Export with a float32 input")
            return None
        dims = list(tensor.shape.dim)
        sizes = [dim.dim_value if dim.WhichOneof("value") == "dim_value" else None for dim in dims]
        if len(sizes) < 2:
            self.obstacle("the input has no batch axis", "Export with an input of shape (batch, ...)")
            return None
        if sizes[0] not in (None, 1):
            self.obstacle(f"the batch is fixed to {sizes[0]}", "Export with a dynamic batch axis, or with a batch of 1")
            return None
        shape = tuple(size for size in sizes[1:] if size is not None)
        if len(shape) != len(sizes) - 1 or min(shape) < 1:
            self.obstacle(
                "the input's shape is open on other axes than the batch", "Export with fixed sizes, the batch aside"
            )
            return None
        if prod(shape) > self.limits.activation_elements:
            self.obstacle(f"a sample has {prod(shape)} entries", "Use a smaller input")
            return None
        self.fixed_batch = sizes[0] == 1
        source = Activation("input", shape)
        self.values[value.name] = source
        self.source = (source,)
        return source

    def choose_output(self, wanted: str | None) -> str | None:
        names: list[str] = [value.name for value in self.file.output]
        listed = ", ".join(quoted(name) for name in names[:10]) or "none"
        if wanted is not None and wanted not in names:
            self.obstacle(f"there is no output {quoted(wanted)}", f"Name one of the outputs: {listed}")
            return None
        if wanted is None and len(names) != 1:
            self.obstacle(f"the model has {len(names)} outputs", f"Name the logits as output, one of: {listed}")
            return None
        return names[0] if wanted is None else wanted

    def check_result(self, name: str, result: Value | None) -> None:
        if isinstance(result, Activation):
            if result.joined:
                self.obstacle(
                    "samples of the batch are joined or cut",
                    "The output must be logits of shape (batch, classes)",
                    self.joined[result.id],
                )
            elif len(result.shape) != 1 or result.shape[0] < 2:
                self.obstacle(
                    f"the output {quoted(name)} has the shape (batch, {', '.join(map(str, result.shape))})",
                    "The output must be logits of shape (batch, classes) with at least two classes",
                )
        elif result is not None:
            self.obstacle(f"the output {quoted(name)} does not depend on the input", "Export the whole model")
        elif not self.obstacles and not self.missing:
            self.obstacle(f"the output {quoted(name)} is made by no node", "Export the model again")

    def live(self, output: str) -> dict[int, set[str]]:
        """The nodes that the output needs, by position, each with those of its outputs that are needed."""
        maker: dict[str, int] = {}
        for index, node in enumerate(self.file.node):
            for name in node.output:
                if name and (name in maker or name in self.initializers or name in self.values):
                    self.obstacle(f"the value {quoted(name)} is made twice", "Export the model again", index)
                maker[name] = index
        live: dict[int, set[str]] = {}
        todo, seen = [output], {output}
        while todo:
            name = todo.pop()
            if name not in maker:
                continue
            if maker[name] not in live:
                live[maker[name]] = set()
                fresh = {source for source in self.file.node[maker[name]].input if source} - seen
                todo.extend(fresh)
                seen |= fresh
            live[maker[name]].add(name)
        return live

    # One node

    def read_node(self, index: int, node: Any, needed: set[str]) -> None:
        self.values.update(dict.fromkeys(needed))
        try:
            attributes = read_attributes(node, self.tensors)
            many = node.op_type in OPERATORS and OPERATORS[node.op_type].many_outputs
            if not many and any(name in needed for name in node.output[1:]):
                raise Refusal("an output other than its first is used", "Use the first output only")
            given = max((i for i, name in enumerate(node.input, start=1) if name), default=0)
            names = node.input[:given]
            inputs = tuple(self.input(name, index) if name else None for name in names)
            if any(value is None and name for value, name in zip(inputs, names, strict=True)):
                return  # an obstacle upstream has been reported
            call = Call(
                node.op_type,
                self.opset,
                attributes,
                inputs,
                outputs=max((i for i, name in enumerate(node.output, start=1) if name), default=0),
                limits=self.limits,
                fixed_batch=self.fixed_batch,
            )
            for position, name in enumerate(node.output):
                if name in needed:
                    self.values[name] = self.value(replace(call, output=position), index, node.name)
        except Refusal as refusal:
            self.obstacle(refusal.reason, refusal.remedy, self.joins(node, index))
        except MissingFile as missing:
            self.missing[missing.name] += 1
        except _MALFORMED as error:
            self.obstacle(
                f"its inputs and attributes contradict each other ({type(error).__name__})",
                "Export the model again",
                index,
            )

    def joins(self, node: Any, index: int) -> int:
        """The node to name for a refusal: the one that joined samples of the batch, where that stands in the way."""
        values = (self.values.get(name) for name in node.input)
        return min(
            (self.joined[value.id] for value in values if isinstance(value, Activation) and value.joined), default=index
        )

    def input(self, name: str, index: int) -> Value | None:
        if name in self.values:
            return self.values[name]
        if name in self.initializers:
            return self.initializer(name, index)
        raise Refusal(
            f"it reads {quoted(name)}, which no node before it makes", "Export the model again: nodes must be in order"
        )

    def initializer(self, name: str, index: int | None) -> Value | None:
        if name not in self.initializers:
            return None
        value = None
        try:
            value = self.tensors.read(self.initializers[name])
        except MissingFile as missing:
            self.missing[missing.name] += 1
        except Refusal as refusal:
            self.obstacle(refusal.reason, refusal.remedy, index)
        self.values[name] = value
        return value

    def value(self, call: Call, index: int, label: str) -> Value:
        """What a node makes: a constant, or an activation and the node for it."""
        if not call.activations() or call.operator in SHAPE_ONLY:
            parameter = repeated(call)
            if parameter is not None:
                self.tensors.spend(parameter.value.size)
                return self.made(parameter, self.source, index, label)
            if call.operator not in FOLDS:
                raise Refusal("it works on constants alone", "Export the model again with constant folding on")
            _check_inputs(call, FOLDS[call.operator].most_inputs)
            constant = fold(call)
            self.tensors.spend(constant.size)
            return constant
        if call.operator not in OPERATORS:
            raise Refusal("it is supported on constants and sizes only", "Express the layer by supported operators")
        _check_inputs(call, OPERATORS[call.operator].most_inputs)
        call, joins = axes_apart(call)
        if OPERATORS[call.operator].lifts_constants:
            inputs = (self.lifted(value, call, index, label) for value in call.inputs)
            call = replace(call, inputs=tuple(inputs))
        made = self.made(OPERATORS[call.operator].read(call), call.activations(), index, label)
        if joins:
            before = (self.joined.get(value.id, index) for value in call.activations())
            self.joined[made.id] = min(before, default=index)
        return replace(made, joined=joins)

    def lifted(self, value: Value | None, call: Call, index: int, label: str) -> Value | None:
        """A constant as an activation that is the same for every sample."""
        if not isinstance(value, np.ndarray):
            return value
        if value.dtype.kind != "f":
            raise Refusal("a constant that meets an activation must be floats", "Export the model in float32")
        if value.ndim != call.activations()[0].rank or value.shape[0] != 1:
            raise Refusal("a constant does not have the axes of an activation", "Give it a batch axis of size 1")
        return self.made(Parameter(value[0]), self.source, index, label)

    def made(self, operator: Operator, activations: tuple[Activation, ...], index: int, label: str) -> Activation:
        """The node for an operator, checked, and the activation that it makes."""
        shape = operator.shape(*(value.shape for value in activations))
        if prod(shape) > self.limits.activation_elements:
            raise Refusal(
                f"it makes {prod(shape)} entries a sample, over the limit of {self.limits.activation_elements}",
                "Use a smaller input or a smaller model",
            )
        if prod(shape) < 1:
            raise Refusal("it makes an empty tensor", "Export the model again")
        if not _finite(operator):
            raise Refusal("a weight is infinite or not a number", "Train the model again, or repair that weight")
        if isinstance(operator, Identity):
            return activations[0]
        made = Activation(f"node{len(self.nodes)}", shape)
        self.nodes.append(Node(operator, tuple(value.id for value in activations), made.id, index, label))
        return made


def _finite(operator: Operator) -> bool:
    numbers = (value for value in operator.settings().values() if isinstance(value, float))
    return all(np.isfinite(array).all() for array in operator.arrays().values()) and all(map(isfinite, numbers))


def _check_inputs(call: Call, most: int) -> None:
    if len(call.inputs) > most:
        raise Refusal(f"it has {len(call.inputs)} inputs, and takes at most {most}", "Export the model again")
