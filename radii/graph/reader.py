"""ONNX bytes to a checked graph. This is the only module that meets protobuf, and it imports onnx when called."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from radii.graph.admission import admitted
from radii.graph.attributes import DEFAULT_DOMAIN
from radii.graph.branches import count_nodes, live_nodes
from radii.graph.call import Activation, Value
from radii.graph.composition import Task
from radii.graph.element_types import ElementTypes
from radii.graph.errors import Obstacle, Refusal, UnsupportedModel
from radii.graph.ir import Graph
from radii.graph.limits import DEFAULTS, Limits
from radii.graph.nodes import NodeReader
from radii.graph.operator import Shape
from radii.graph.ops.linear import Linear
from radii.graph.probabilities import lies_between_0_and_1
from radii.graph.remedies import ZIPMAP, quoted, remedy_for_bytes
from radii.graph.sample import sample_of
from radii.graph.simplify import simplify
from radii.graph.units import with_units

OLDEST, NEWEST = 8, 26  # opsets of the default domain
NEWEST_IR = 14  # version of the file format; another may hold what is not seen here
FLOATS = (1, 10, 11)  # TensorProto.FLOAT, FLOAT16, DOUBLE: all run in what `to_module` is asked for


def read_onnx(
    data: bytes,
    *,
    external_data: Mapping[str, bytes] | None = None,
    output: str | None = None,
    input_shape: Shape | None = None,
    limits: Limits = DEFAULTS,
    task: Task = "classifier",
) -> Graph:
    """The graph of an ONNX file (opset 8-26, default domain) with one input and logits (batch, classes); of a denoiser,
    with an output of the input's shape; of a regressor, with real numbers (batch, ...), which it flattens.

    ``external_data`` holds the files that weights lie in, by the name the export gave them; ``output`` names one
    of several outputs; ``input_shape`` is that of one sample, for a file that leaves it open or has no batch axis
    (:mod:`radii.graph.sample`). Raises `UnsupportedModel` with everything that stands in the way, whatever the bytes
    are.
    """
    if len(data) > limits.file_bytes:
        raise _refused(f"the file has {len(data)} bytes, over the limit of {limits.file_bytes}", "Use a smaller model")
    foreign = remedy_for_bytes(data)
    if foreign:
        raise _refused(*foreign)
    try:
        with np.errstate(all="ignore"):  # what overflows is refused by name, not warned of
            return _read(_parse(data), external_data or {}, output, input_shape, limits, task)
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


def _read(
    model: Any,
    external: Mapping[str, bytes],
    output: str | None,
    shape: Shape | None,
    limits: Limits,
    task: Task,
) -> Graph:
    """The graph of a file whose batch stays the first axis; of any other, the one that it is at a batch of 1."""
    free = _Reader(model, external, shape, limits, task)
    try:
        return free.graph(output)
    except UnsupportedModel as refusal:
        if not _at_nodes(refusal) or free.batch is not None:
            raise
        obstacles, understood = refusal.obstacles, free.understood
    del free  # and the weights it holds
    one = _Reader(model, external, shape, limits, task, batch=1)
    try:
        graph = one.graph(output)
        if one.batch_is_fixed:
            return graph
    except UnsupportedModel as refusal:
        if one.understood > understood and (one.batch_is_fixed or _at_nodes(refusal)):
            raise
        of_the_file = (found for found in refusal.obstacles if found.node is None and found not in obstacles)
        raise UnsupportedModel([*obstacles, *of_the_file]) from None
    from radii.graph.independence import keeps_apart

    try:
        apart = keeps_apart(graph, _Reader(model, external, shape, limits.times(2), task, batch=2).graph(output))
    except UnsupportedModel:
        final = Obstacle(None, "", "the network can be read at a batch of 1 only", "Export with the batch fixed to 1")
    else:
        if apart:
            return graph
        final = Obstacle(
            None,
            "",
            "an input's outputs depend on the other inputs of its batch, or are not finite",
            "Export in evaluation mode: model.eval()",
        )
    raise UnsupportedModel([*obstacles, final])


def _at_nodes(refusal: UnsupportedModel) -> bool:
    return any(obstacle.node is not None for obstacle in refusal.obstacles)


def _may_be_logits(output: Any) -> bool:
    """Whether an output is a tensor of floats, or does not say what it is."""
    kind = output.type.WhichOneof("value")
    return kind is None or (kind == "tensor_type" and output.type.tensor_type.elem_type in (0, *FLOATS))


def _of_classes(shape: Sequence[int]) -> bool:
    """Whether a sample's output has an entry a class: one axis of two or more, the others of 1."""
    return [size > 1 for size in shape].count(True) == 1


class _Reader(NodeReader):
    """One pass over one file: the batch is what it calls so, or, where ``batch`` says its size, an axis like any. A
    file without a batch axis is read at a batch of 1."""

    def __init__(
        self,
        model: Any,
        external: Mapping[str, bytes],
        shape: Shape | None,
        limits: Limits,
        task: Task,
        batch: int | None = None,
    ) -> None:
        super().__init__(external, limits)
        self.task, self.declared = task, shape
        self.model, self.file, self.batch = model, model.graph, batch
        self.listed = with_units(self.file)

    def graph(self, output: str | None) -> Graph:
        count = count_nodes(self.file)
        if count > self.limits.nodes:
            raise _refused(
                f"the graph has {count} nodes, over the limit of {self.limits.nodes}",
                "Use a smaller model, or unroll less",
            )
        self.check_versions()
        self.index_initializers()
        source = self.read_input()
        name = self.choose_output(output)
        if name is None:
            raise UnsupportedModel(self.obstacles)
        live, types = self.live(name), ElementTypes(self.file, min(max(self.opset, 0), NEWEST))
        for position, (index, node) in enumerate(self.listed):
            if position in live:
                self.check_types(types, index, node)
                self.read_node(index, node, live[position])
        result = self.values.get(name) if name in self.values else self.initializer(name, None)
        self.check_result(name, result)
        for file, count in self.missing.items():
            self.obstacle(
                f"weights lie in the file {quoted(file)}, which is not here (tensors: {count})",
                "Give that file too. Commands: put it beside the model. HTTP: upload it, and register the model with "
                f'"external_data": {{"{quoted(file)[1:-1]}": "upl_..."}}, the id of that upload. '
                f"Python: external_data={{{quoted(file)}: ...}}. "
                "Or export with external_data=False",
            )
        if self.obstacles or source is None or not isinstance(result, Activation):
            raise UnsupportedModel(self.obstacles)
        if result.batch_in_shape or self.task != "denoiser":
            flat = self.task != "denoiser"
            shape = (prod(result.shape),) if flat else self.shapes[source.id]
            if self.task == "binary":
                result = self.two_logits(result)
                shape = (2 * prod(shape),)
            result = self.reshaped(result, shape, -1, "")  # at a batch of 2: the logits of both
        graph = Graph.build(source.id, self.shapes[source.id], result.id, self.nodes)
        return admitted(simplify(graph), self.limits, "classifier" if self.task == "binary" else self.task)

    def two_logits(self, result: Activation) -> Activation:
        """``(0, z)`` for each logit z of class 1, or for each of its sigmoids, which exceeds 1/2 where z exceeds 0."""
        maker = {node.output: node for node in self.nodes}
        end = result.id
        while end in maker and maker[end].operator.keeps_order:
            (end,) = maker[end].inputs
        if end in maker and maker[end].operator.is_probability:
            (end,) = maker[end].inputs
        elif lies_between_0_and_1(Graph.build(self.source[0].id, self.shapes[self.source[0].id], end, self.nodes)):
            raise _refused(
                "its output lies between 0 and 1, as probabilities do: as a logit it would be of class 1 everywhere",
                "Export the logit that stands before it (or a Sigmoid as the operator of that name, at the end)",
            )
        count = prod(result.shape)
        logit = self.reshaped(Activation(end, self.shapes[end]), (count, 1) if count > 1 else (1,), -1, "")
        return self.made(Linear(np.array([[0], [1]], np.float32)), (logit,), -1, "")

    # The file as a whole

    def check_versions(self) -> None:
        if self.model.ir_version > NEWEST_IR:
            self.obstacle(
                f"the file's IR version is {self.model.ir_version}, supported are those up to {NEWEST_IR}",
                "Save it with an older one: model = onnx.load(FILE); model.ir_version = 10; onnx.save(model, FILE)",
            )
        versions = sorted({entry.version for entry in self.model.opset_import if entry.domain in DEFAULT_DOMAIN})
        self.opset = versions[-1] if versions else 0
        if len(versions) != 1 or not OLDEST <= self.opset <= NEWEST:
            self.obstacle(
                f"the opset is {' and '.join(map(str, versions)) or 'not given'}, "
                f"supported is one of {OLDEST} to {NEWEST}",
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
            remedy = "Export with a float32 input; of a network that takes indices, what follows its embedding"
            self.obstacle("the input is not a float32 tensor", remedy)
            return None
        # converters write open sizes as -1 or 0
        sizes = [dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim]
        if not tensor.HasField("shape") and self.declared is not None:
            sizes = [None] * (len(self.declared) + 1)
        try:
            sample = sample_of(sizes, self.declared)
        except Refusal as refusal:
            self.obstacle(refusal.reason, refusal.remedy)
            return None
        shape, self.batch_is_fixed, self.is_whole = sample
        if prod(shape) > self.limits.activation_elements:
            self.obstacle(f"a sample has {prod(shape)} entries", "Use a smaller input")
            return None
        if self.is_whole:
            self.batch = 1
            source = Activation("input", shape, batch_in_shape=True)
        elif self.batch is None:
            source = Activation("input", shape)
        else:
            source = Activation("input", (self.batch, *shape), batch_in_shape=True)
        self.shapes[source.id] = shape if self.batch in (None, 1) else source.shape
        self.values[value.name] = source
        self.source = (source,)
        return source

    def check_types(self, types: ElementTypes, index: int, node: Any) -> None:
        try:
            types.enter(node)
        except Refusal as refusal:
            self.obstacle(refusal.reason, refusal.remedy, index, node)

    def choose_output(self, wanted: str | None) -> str | None:
        names: list[str] = [value.name for value in self.file.output]
        listed = ", ".join(quoted(name) for name in names[:10]) or "none"
        if wanted is not None and wanted not in names:
            self.obstacle(f"there is no output {quoted(wanted)}", f"Name one of the outputs: {listed}")
            return None
        if wanted is None and len(names) != 1:
            may = [quoted(value.name) for value in self.file.output if _may_be_logits(value)]
            maps = any(node.op_type == "ZipMap" for node in self.file.node)
            remedy = f"Name the one to take as output, one of: {', '.join(may[:10]) or listed}"
            self.obstacle(f"the model has {len(names)} outputs", remedy if may or not maps else ZIPMAP)
            return None
        return names[0] if wanted is None else wanted

    def check_result(self, name: str, result: Value | None) -> None:
        if isinstance(result, Activation):
            shape: tuple[Any, ...] = result.shape if result.batch_in_shape else (self.batch, *result.shape)
            if self.is_whole or (self.batch == 1 and len(shape) <= 1):  # there is no batch axis, or it has gone
                shape = (1, *shape)
            if self.task == "denoiser":
                made, wanted = prod(result.shape), prod(self.shapes[self.source[0].id])
                if made != wanted or not (result.batch_in_shape or result.shape == self.source[0].shape):
                    words = f"the output {quoted(name)} of shape {result.shape} has not the input's"
                    self.obstacle(words, "A denoiser's output has the shape of its input, (batch, ...)")
            elif self.task == "binary" and (shape[:1] != (self.batch,) or prod(shape[1:]) != 1):
                words = f"the output {quoted(name)} of shape {result.shape} is not one number an input"
                self.obstacle(words, "A binary classifier makes one logit, or its sigmoid; of more, it is a classifier")
            elif shape[:1] != (self.batch,) or (self.task == "classifier" and not _of_classes(shape[1:])):
                words = ", ".join("batch" if size is None else str(size) for size in shape)
                self.obstacle(
                    f"the output {quoted(name)} has the shape ({words})"
                    + (f" at a batch of {self.batch}" if result.batch_in_shape else ""),
                    "The output's first axis must be the batch"
                    if self.task == "regressor"
                    else "The output must be logits of shape (batch, classes) with at least two classes; "
                    "one logit of two classes, or its sigmoid, is a binary classifier's (task = binary); numbers of "
                    "shape (batch, outputs) that are none are a regressor's (task = regressor; radii median)",
                )
        elif result is not None:
            self.obstacle(f"the output {quoted(name)} does not depend on the input", "Export the whole model")
        elif not self.obstacles and not self.missing:
            self.obstacle(f"the output {quoted(name)} is made by no node", "Export the model again")

    def live(self, output: str) -> dict[int, set[str]]:
        """The nodes that the output needs, by position, each with those of its outputs that are needed."""
        made: set[str] = set()
        for index, node in enumerate(self.file.node):
            for name in node.output:
                if name and (name in made or name in self.initializers or name in self.values):
                    self.obstacle(f"the value {quoted(name)} is made twice", "Export the model again", index, node)
                made.add(name)
        return live_nodes([node for _, node in self.listed], {output})
