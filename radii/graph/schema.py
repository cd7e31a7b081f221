"""The JSON Schema of graph.json, made from the operators' own fields (docs/graph.schema.json)."""

import json
import types
from dataclasses import fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from radii.graph.ir import FORMAT
from radii.graph.limits import DEFAULTS
from radii.graph.operator import Operator
from radii.graph.ops.registry import MANY, NODES

_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string", types.NoneType: "null"}
_ARRAYS = {"f": ("floats", ["f4", "f8"]), "i": ("integers", ["i8"]), "b": ("truths", ["b1"])}  # by kind of dtype
POSITION = {"type": "integer", "minimum": 0}


def schema() -> dict[str, Any]:
    """The whole schema, an entry of ``$defs`` for every operator."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "graph.json: the canonical form of a network (docs/graph-format.md)",
        **_object(
            {
                "format": {"const": FORMAT},
                "input_shape": _list({"type": "integer", "minimum": 1}, 1, 16),
                "nodes": _list({"oneOf": [{"$ref": f"#/$defs/{name}"} for name in sorted(NODES)]}, 0, DEFAULTS.nodes),
                "output": POSITION | {"description": "Position of the logits; 0 is the input."},
            }
        ),
        "$defs": {
            **{name: _array(codes) for name, codes in _ARRAYS.values()},
            **{name: _operator(cls) for name, cls in sorted(NODES.items())},
        },
    }


def written() -> str:
    """The schema as text, an operator a line."""

    def lines(values: dict[str, Any], indent: str) -> str:
        return ",\n".join(f"{indent}{json.dumps(key)}: {json.dumps(value)}" for key, value in values.items())

    whole = schema()
    definitions = whole.pop("$defs")
    return f'{{\n{lines(whole, " ")},\n "$defs": {{\n{lines(definitions, "  ")}\n }}\n}}\n'


def _operator(cls: type[Operator]) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    optional = []
    hints = get_type_hints(cls)
    for field in fields(cls):
        hint = hints[field.name]
        parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        if any((get_origin(part) or part) is np.ndarray for part in parts):
            arrays[field.name] = _one_of([_ref(kind) for kind in cls.array_kinds.get(field.name, "f")])
            if types.NoneType in parts:
                optional.append(field.name)
                attributes[field.name] = {"type": "null", "description": "Given unless it stands among the arrays."}
        else:
            attributes[field.name] = _field(hint)
    fewest, most = cls.activations
    words = " ".join((cls.__doc__ or "").split())
    return {
        **({} if words.startswith(f"{cls.__name__}(") else {"description": words}),  # written by dataclass, not by us
        **_object(
            {
                "operator": {"const": cls.__name__},
                "attributes": _object(attributes, optional),
                "arrays": _object(arrays, optional),
                "inputs": _list(POSITION, fewest, most),
            }
        ),
    }


def _field(hint: Any) -> dict[str, Any]:
    """The values of a field that is no array."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _one_of([_field(part) for part in parts])
    if origin is tuple and len(parts) == 2 and parts[1] is Ellipsis:
        return {"type": "array", "items": _field(parts[0])}
    if origin is tuple:
        return {"prefixItems": [_field(part) for part in parts]} | _list(None, len(parts), len(parts))
    if is_dataclass(hint):
        types_ = get_type_hints(hint)
        return _object({field.name: _field(types_[field.name]) for field in fields(hint)})
    return {"type": _TYPES[hint]}


def _array(codes: list[str]) -> dict[str, Any]:
    digest = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    shape = _list({"type": "integer", "minimum": 1}, 0, 16)
    return {
        "description": "Type, shape, SHA-256 of the entries (little-endian, C order).",
        "prefixItems": [{"enum": codes}, shape, digest],
        **_list(None, 3, 3),
    }


def _ref(kind: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{_ARRAYS[kind][0]}"}


def _one_of(options: list[dict[str, Any]]) -> dict[str, Any]:
    return options[0] if len(options) == 1 else {"oneOf": options}


def _list(items: dict[str, Any] | None, least: int, most: int) -> dict[str, Any]:
    limits = {"minItems": least} | ({} if most == MANY else {"maxItems": most})
    return {"type": "array", **limits} | ({} if items is None else {"items": items})


def _object(properties: dict[str, Any], optional: list[str] | None = None) -> dict[str, Any]:
    required = [name for name in properties if name not in (optional or [])]
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}
