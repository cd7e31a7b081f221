"""Safetensors: eight bytes with the header's length, a header in JSON, the entries. Read without trust, and written.

The format: https://huggingface.co/docs/safetensors/index#format. Sizes are checked against the bytes that are there
before anything is made of them; the arrays are views of those bytes, so that reading takes no memory of its own.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from radii.graph.errors import Refusal
from radii.graph.ir import little_endian
from radii.graph.limits import Limits

HEADER_BYTES = 2**24
NOT_SAFETENSORS = "Write the file with safetensors.torch.save_file(model.state_dict(), 'model.safetensors')"

_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",  # NumPy has no such type: widened below
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}
_NAMES = {np.dtype(code): name for name, code in _TYPES.items() if name != "BF16"}


def parse_json(data: bytes, what: str, remedy: str) -> Any:
    """JSON of bytes that may be hostile: no NaN, no key twice, no endless nesting. Raises `Refusal`."""
    try:
        return json.loads(data.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise Refusal(f"{what} is not JSON ({type(error).__name__})", remedy) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key is there twice")
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def read_safetensors(data: bytes, limits: Limits) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file by name, read-only; bfloat16 and float16 become float32, which holds them.

    Raises `Refusal` where the file is not whole, its parts overlap or leave gaps, or a limit is passed.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(HEADER_BYTES, len(data) - 8):
        raise Refusal("the weights are not safetensors, or are cut off", NOT_SAFETENSORS)
    header = parse_json(data[8 : 8 + length], "the header of the weights", NOT_SAFETENSORS)
    if not isinstance(header, dict):
        raise Refusal("the header of the weights is no object", NOT_SAFETENSORS)
    header.pop("__metadata__", None)
    content, tensors = memoryview(data)[8 + length :], {}
    room, spans = limits.total_elements, []
    for name, entry in header.items():
        kind, shape, begin, end = _entry(entry)
        elements = limits.check_tensor(shape)
        room -= elements
        if room < 0:
            raise Refusal(f"all weights together have over {limits.total_elements} elements", "Use a smaller model")
        dtype = np.dtype(_TYPES[kind])
        if not begin <= end <= len(content) or end - begin != elements * dtype.itemsize:
            raise Refusal(
                "a tensor's data does not have the size of its shape, or lies outside the file", NOT_SAFETENSORS
            )
        spans.append((begin, end))
        array = np.frombuffer(content[begin:end], np.uint8 if kind == "BOOL" else dtype).reshape(shape)
        tensors[name] = _native(array, kind)
    at = 0
    for begin, end in sorted(spans):
        if begin != at:
            raise Refusal("tensors overlap, or leave gaps between them", NOT_SAFETENSORS)
        at = end
    if at != len(content):
        raise Refusal("bytes follow the last tensor", NOT_SAFETENSORS)
    return tensors


def _entry(entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Type, shape and place of a tensor, as the header has them."""
    known = isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"}
    if known and str(entry["dtype"]) in _TYPES and _naturals(entry["shape"]) and len(entry["shape"]) <= 16:
        offsets = entry["data_offsets"]
        if _naturals(offsets) and len(offsets) == 2:
            return str(entry["dtype"]), tuple(entry["shape"]), offsets[0], offsets[1]
    raise Refusal(f"a tensor is not described as one of {', '.join(_TYPES)}", NOT_SAFETENSORS)


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and 0 <= size < 2**63 for size in value)


def _native(array: np.ndarray, kind: str) -> np.ndarray:
    if kind == "BF16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    elif kind == "F16":
        array = array.astype(np.float32)
    elif kind == "BOOL":
        array = np.asarray(array != 0)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    array.flags.writeable = False
    return array


def write_safetensors(tensors: Mapping[str, np.ndarray]) -> bytes:
    """The file that holds ``tensors``, in the order of their names and with no metadata: same tensors, same bytes."""
    header, parts, at = {}, [], 0
    for name, array in sorted(tensors.items()):
        content = little_endian(array)
        kind = _NAMES[array.dtype.newbyteorder("<")]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [at, at + len(content)]}
        parts.append(content)
        at += len(content)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # entries aligned, as the format asks
    return b"".join((len(text).to_bytes(8, "little"), text, *parts))
