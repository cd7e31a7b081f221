"""The types of a file's values. Those that one operator takes as one must agree: onnxruntime runs no other file."""

from typing import Any

from radii.graph.errors import Refusal
from radii.graph.remedies import quoted

FLOATS = {1: "float", 10: "float16", 11: "double", 16: "bfloat16"}  # TensorProto.DataType; others need not be told


class ElementTypes:
    """The float types that are known, by the names of values. What ONNX's schemas don't tell is not known."""

    def __init__(self, graph: Any, opset: int) -> None:
        self._opset = opset
        self._known = {value.name: FLOATS.get(value.type.tensor_type.elem_type) for value in graph.input}
        self._known |= {tensor.name: FLOATS.get(tensor.data_type) for tensor in graph.initializer}

    def enter(self, node: Any) -> None:
        """Note the types of what ``node`` makes. Raises `Refusal` where those of its inputs do not agree."""
        from onnx.defs import SchemaError, get_schema

        try:
            schema = get_schema(node.op_type, self._opset, "")
        except (SchemaError, TypeError):  # TypeError: its name is not text
            return  # what is no operator is refused elsewhere
        first: dict[str, str] = {}  # the first input of each of the schema's type variables
        for position, name in enumerate(node.input):
            kind = self._known.get(name)
            formal = schema.inputs[min(position, len(schema.inputs) - 1)] if schema.inputs else None
            if kind is None or formal is None or not formal.is_homogeneous:
                continue
            other = first.setdefault(formal.type_str, name)
            if self._known[other] != kind:
                raise Refusal(
                    f"its inputs are of two types: {quoted(other)} is {self._known[other]}, {quoted(name)} is {kind}",
                    "Export the model in one type, input and weights: model.float()",
                )
        made = _told(node)
        for name, formal in zip(node.output, schema.outputs, strict=False):
            variable = first.get(formal.type_str)
            self._known[name] = made or (None if variable is None else self._known[variable])


def _told(node: Any) -> str | None:
    """The type that an attribute says, of a Cast or a constant."""
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to":
            return FLOATS.get(attribute.i)
        if node.op_type in ("Constant", "ConstantOfShape") and attribute.name == "value":
            return FLOATS.get(attribute.t.data_type)
    return None
