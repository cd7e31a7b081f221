"""A validator for the few words of JSON Schema that docs/graph.schema.json uses."""

import re
from typing import Any

KINDS = {"object": dict, "array": list, "integer": int, "number": float, "boolean": bool, "string": str}
WORDS = {
    *("$schema", "title", "description", "$defs", "$ref", "type", "const", "enum", "oneOf", "properties", "required"),
    *("additionalProperties", "items", "prefixItems", "minItems", "maxItems", "minimum", "pattern"),
}


def conforms(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether ``value`` fits ``schema``, a part of ``root``."""
    assert set(schema) <= WORDS, set(schema) - WORDS
    if "$ref" in schema:
        return conforms(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "oneOf" in schema:
        return sum(conforms(value, option, root) for option in schema["oneOf"]) == 1
    if "const" in schema or "enum" in schema:
        return value in schema.get("enum", [schema.get("const")])
    kind = schema["type"]
    if kind == "null":
        return value is None
    if type(value) is not KINDS[kind] and not (kind == "number" and type(value) is int):
        return False
    if isinstance(value, dict):
        known = schema["properties"]
        assert schema["additionalProperties"] is False
        named = set(schema["required"]) <= set(value) <= set(known)
        return named and all(conforms(value[key], known[key], root) for key in sorted(value, reverse=True))
    if isinstance(value, list):
        parts = schema.get("prefixItems", [schema.get("items", {})] * len(value))
        within = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        return within and all(conforms(entry, part, root) for entry, part in zip(value, parts, strict=True))
    if isinstance(value, str):
        return re.search(schema.get("pattern", ""), value) is not None
    return value >= schema.get("minimum", value)
