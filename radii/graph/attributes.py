"""The attributes of a node: declared by its operator, or refused. None is ever skipped."""

from typing import Any

from radii.graph.errors import Refusal
from radii.graph.folding import FOLDS
from radii.graph.ops import OPERATORS
from radii.graph.remedies import quoted, remedy_for_domain, remedy_for_operator
from radii.graph.spelled import SPELLINGS
from radii.graph.tensors import Tensors

DEFAULT_DOMAIN = ("", "ai.onnx")

# AttributeProto.AttributeType: the kind's name in `Operator.attributes`, and the field that holds the value
_KINDS = {
    1: ("float", "f"),
    2: ("int", "i"),
    3: ("string", "s"),
    4: ("tensor", "t"),
    6: ("floats", "floats"),
    7: ("ints", "ints"),
    8: ("strings", "strings"),
}
_SUBGRAPHS = (5, 10)


def read_attributes(node: Any, tensors: Tensors) -> dict[str, Any]:
    """The attributes of a NodeProto, every one of them known and of the declared kind.

    Raises `Refusal` for those that are not, and for a node of another domain, with a graph of its own, or unknown.
    """
    domain = SPELLINGS[node.op_type].domain if node.op_type in SPELLINGS else ""
    if node.domain not in (domain, *DEFAULT_DOMAIN):
        raise Refusal(*remedy_for_domain(quoted(node.domain), node.op_type))
    if domain and node.domain != domain:
        raise Refusal(*remedy_for_operator(node.op_type))
    if any(attribute.type in _SUBGRAPHS for attribute in node.attribute):
        raise Refusal("it holds a graph of its own (control flow)", "Export with control flow traced away")
    entries = [known.get(node.op_type) for known in (FOLDS, OPERATORS, SPELLINGS)]
    if not any(entries):
        raise Refusal(*remedy_for_operator(node.op_type))
    known = {name: kind for entry in entries if entry is not None for name, kind in entry.attributes.items()}
    values: dict[str, Any] = {}
    for attribute in node.attribute:
        name = attribute.name
        if name not in known or name in values or attribute.ref_attr_name:
            raise Refusal(f"the attribute {quoted(name)} is not known", "Export with a supported opset")
        kind, field = _KINDS.get(attribute.type, ("another kind", ""))
        if known[name] == "flag":
            if kind != "int" or attribute.i not in (0, 1):
                raise Refusal(f"the attribute {quoted(name)} must be 0 or 1", "Export the model again")
        elif kind != known[name]:
            raise Refusal(f"the attribute {quoted(name)} must be of kind {known[name]}", "Export the model again")
        value = getattr(attribute, field)
        if kind == "tensor":
            values[name] = tensors.read(value)
        elif kind == "string":
            values[name] = value.decode("ascii", "replace")
        else:
            values[name] = tuple(value) if kind in ("ints", "floats", "strings") else value
    return values
