"""One node of a file after another: what it makes of what is known, or why it can't be read."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from radii.graph.admission import MALFORMED, admit, malformed
from radii.graph.attributes import read_attributes
from radii.graph.branches import DATA_DEPENDENT, branches, live_nodes
from radii.graph.call import Activation, Call, Value
from radii.graph.errors import Obstacle, Refusal
from radii.graph.evaluation import evaluated
from radii.graph.fixed_batch import relabelled, views
from radii.graph.folding import FOLDS
from radii.graph.ir import Node
from radii.graph.limits import Limits
from radii.graph.operator import Operator, Shape
from radii.graph.ops import OPERATORS
from radii.graph.ops.copies import Parameter, repeated
from radii.graph.ops.layout import KEEP_BATCH, Reshape
from radii.graph.remedies import quoted, remedy_on_activations
from radii.graph.spelled import SPELLINGS
from radii.graph.tensors import MissingFile, Tensors
from radii.graph.units import written_as
from radii.graph.views import View


class NodeReader:
    """What is known while a file is read. ``values`` maps the file's names to it; None: refused upstream."""

    def __init__(self, external: Mapping[str, bytes], limits: Limits) -> None:
        self.limits = limits
        self.tensors = Tensors(external, limits)
        self.obstacles: list[Obstacle] = []
        self.missing: Counter[str] = Counter()
        self.values: dict[str, Value | None] = {}
        self.nodes: list[Node] = []
        self.initializers: dict[str, Any] = {}
        self.understood = 0  # nodes read so far
        self.shapes: dict[str, Shape] = {}  # a sample's, of every activation made
        self.reshapes: dict[tuple[str, Shape], Activation] = {}
        self.source: tuple[Activation, ...] = ()  # the input: what a constant of every sample takes its batch from
        self.opset = 0

    def obstacle(self, reason: str, remedy: str, index: int | None = None, node: Any = None) -> None:
        """Note what stands in the way; ``index`` is the node's position in the file, those inside an If at the If's."""
        operator = "" if node is None else ascii(written_as(node)[:80])[1:-1]
        self.obstacles.append(Obstacle(index, operator, reason, remedy))

    def read_node(self, index: int, node: Any, needed: set[str]) -> None:
        """Read one node, the outputs ``needed`` of it; what it can't be read for becomes an obstacle."""
        self.values.update(dict.fromkeys(needed))
        try:
            if node.op_type == "If" and not node.domain:
                self.read_branch(index, node, needed)
                return
            attributes = read_attributes(node, self.tensors)
            operator = OPERATORS.get(node.op_type, Operator)
            read = SPELLINGS[node.op_type].output if node.op_type in SPELLINGS else 0
            others = (*node.output[:read], *node.output[read + 1 :])
            if not operator.many_outputs and any(name in needed for name in others):
                which = ("first", "second")[read]
                raise Refusal(f"an output other than its {which} is used", f"Use the {which} output only")
            if operator.takes_list and "" in node.input:
                raise Refusal("an operand has no name, and none may be left out", "Export the model again")
            given = max((i for i, name in enumerate(node.input, start=1) if name), default=0)
            names = node.input[:given]
            inputs = tuple(self.input(name, index, node) if name else None for name in names)
            if any(value is None and name for value, name in zip(inputs, names, strict=True)):
                return  # an obstacle upstream has been reported
            call = Call(
                node.op_type,
                self.opset,
                attributes,
                inputs,
                outputs=max((i for i, name in enumerate(node.output, start=1) if name), default=0),
                limits=self.limits,
            )
            for position, name in enumerate(node.output):
                if name in needed:
                    self.values[name] = self.value(replace(call, output=position), index, node.name)
            self.understood += 1
        except Refusal as refusal:
            self.obstacle(refusal.reason, refusal.remedy, index, node)
        except MissingFile as missing:
            self.missing[missing.name] += 1
        except MALFORMED as error:
            told = malformed(error)
            self.obstacle(told.reason, told.remedy, index, node)

    def read_branch(self, index: int, node: Any, needed: set[str]) -> None:
        """An If whose condition is known at import: the nodes of the branch it takes, as if they stood in its place."""
        then, otherwise = branches(node)
        condition = self.input(node.input[0], index, node) if len(node.input) == 1 else None
        if condition is None:
            return  # an obstacle upstream has been reported
        if isinstance(condition, Activation) or condition.dtype.kind != "b" or condition.size != 1:
            raise Refusal(*DATA_DEPENDENT)
        taken = then if bool(condition.reshape(())) else otherwise
        for tensor in taken.initializer:
            if tensor.name in self.initializers or tensor.name in self.values:
                raise Refusal(f"the value {quoted(tensor.name)} is made twice", "Export the model again")
            self.initializers[tensor.name] = tensor
        made = [name for inner in taken.node for name in inner.output if name]
        if len(set(made)) < len(made) or any(name in self.values or name in self.initializers for name in made):
            raise Refusal("a value inside of a branch is made twice", "Export the model again")
        results = [value.name for value in taken.output]
        if len(results) != len(node.output):
            raise Refusal("its branches do not make what it promises", "Export the model again")
        wanted = {result for result, name in zip(results, node.output, strict=True) if name in needed}
        live = live_nodes(taken.node, wanted)
        for position, inner in enumerate(taken.node):
            if position in live:
                self.read_node(index, inner, live[position])
        for result, name in zip(results, node.output, strict=True):
            if name in needed:
                self.values[name] = self.input(result, index, node)

    def input(self, name: str, index: int, node: Any) -> Value | None:
        """What a name stands for; None: an obstacle that has been reported."""
        if name in self.values:
            return self.values[name]
        if name in self.initializers:
            return self.initializer(name, index, node)
        raise Refusal(
            f"it reads {quoted(name)}, which no node before it makes",
            "Export the model again: nodes must be in order (onnxslim puts them so)",
        )

    def initializer(self, name: str, index: int | None, node: Any = None) -> Value | None:
        """A constant of the file, read when it is first needed."""
        if name not in self.initializers:
            return None
        value = None
        try:
            value = self.tensors.read(self.initializers[name])
        except MissingFile as missing:
            self.missing[missing.name] += 1
        except Refusal as refusal:
            self.obstacle(refusal.reason, refusal.remedy, index, node)
        self.values[name] = value
        return value

    def value(self, call: Call, index: int, label: str) -> Value:
        """What a node makes: a constant, or an activation and the node for it."""
        of_shapes = call.operator in FOLDS and FOLDS[call.operator].of_shapes
        if not call.activations() or of_shapes:
            parameter = repeated(call)
            if parameter is not None:
                self.tensors.spend(parameter.value.size)
                return self.made(parameter, self.source, index, label)
            known = FOLDS.get(call.operator) or OPERATORS.get(call.operator)
            if known is None:
                raise Refusal("it works on constants alone", "Export the model again with constant folding on")
            _check_inputs(call, known.most_inputs)
            constant = evaluated(call)
            self.tensors.spend(constant.size)
            return constant
        if call.operator in OPERATORS:
            call = OPERATORS[call.operator].narrowed(call)
        if call.activations()[0].batch_in_shape:
            return self.at_fixed_batch(call, index, label)
        return self.applied(call, index, label)

    def at_fixed_batch(self, call: Call, index: int, label: str) -> Activation:
        """What a node makes of activations with `batch_in_shape`: by the first view that its operator has."""
        if call.operator in OPERATORS:
            _check_inputs(call, OPERATORS[call.operator].most_inputs)
        shape = relabelled(call)
        if shape is not None:
            return replace(call.activation(), shape=shape)
        refused: Exception = Refusal("it is not supported on a batch that has left the first axis", KEEP_BATCH)
        for view in views(call, lambda x: self.shapes[x.id]):
            try:
                self.tensors.spend(max(0, _entries(view.call) - _entries(call)))
                made = self.applied(self.seen(view, index, label), index, label)
                return Activation(made.id, view.file(made.shape), batch_in_shape=True)
            except (Refusal, *MALFORMED) as error:
                refused = error
        raise refused

    def seen(self, view: View, index: int, label: str) -> Call:
        """The call of a view, its activations reshaped to what it asks for."""
        shapes = iter(view.shapes)
        inputs = (
            replace(value, id=self.reshaped(value, next(shapes), index, label).id)
            if isinstance(value, Activation)
            else value
            for value in view.call.inputs
        )
        return replace(view.call, inputs=tuple(inputs))

    def reshaped(self, x: Activation, shape: Shape, index: int, label: str) -> Activation:
        """``x`` of another shape, made once."""
        if self.shapes[x.id] == shape:
            return x
        if (x.id, shape) not in self.reshapes:
            self.reshapes[x.id, shape] = self.made(Reshape(shape), (x,), index, label)
        return self.reshapes[x.id, shape]

    def applied(self, call: Call, index: int, label: str) -> Activation:
        """What a node makes of activations whose batch is ours."""
        if call.operator in SPELLINGS:
            _check_inputs(call, SPELLINGS[call.operator].inputs)
            return self.chained(SPELLINGS[call.operator].read(call), call, index, label)
        if call.operator not in OPERATORS:
            raise Refusal(*remedy_on_activations(call.operator))
        _check_inputs(call, OPERATORS[call.operator].most_inputs)
        if OPERATORS[call.operator].lifts_constants:
            inputs = (self.lifted(value, call, index, label) for value in call.inputs)
            call = replace(call, inputs=tuple(inputs))
        return self.chained(OPERATORS[call.operator].read_in_steps(call), call, index, label)

    def chained(self, operators: tuple[Operator, ...], call: Call, index: int, label: str) -> Activation:
        """What the operators make one after another, of which only the first reads what the call does."""
        activations = call.activations()
        for operator in operators:
            activations = (self.made(operator, activations, index, label),)
        return activations[0]

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
        shape = admit(operator, [self.shapes[value.id] for value in activations], self.limits)
        if operator.is_idle:
            return replace(activations[0], shape=shape)
        made = Activation(f"node{len(self.nodes)}", shape)
        self.shapes[made.id] = shape
        self.nodes.append(Node(operator, tuple(value.id for value in activations), made.id, index, label))
        return made


def _check_inputs(call: Call, most: int) -> None:
    if len(call.inputs) > most:
        raise Refusal(f"it has {len(call.inputs)} inputs, and takes at most {most}", "Export the model again")


def _entries(call: Call) -> int:
    """The entries of all its constants together."""
    return sum(value.size for value in call.inputs if isinstance(value, np.ndarray))
