"""TensorProto to read-only arrays: sizes are checked before a byte is looked at, other files are found by name only."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from radii.graph.errors import Refusal
from radii.graph.limits import Limits

EXTERNAL = 1  # TensorProto.DataLocation
SEGMENT_REMEDY = "Export the model again"

# TensorProto.DataType: the array's type, and the field that holds the entries where raw_data does not
_TYPES: dict[int, tuple[type[np.generic], str]] = {
    1: (np.float32, "float_data"),
    2: (np.uint8, "int32_data"),
    3: (np.int8, "int32_data"),
    4: (np.uint16, "int32_data"),
    5: (np.int16, "int32_data"),
    6: (np.int32, "int32_data"),
    7: (np.int64, "int64_data"),
    9: (np.bool_, "int32_data"),
    11: (np.float64, "double_data"),
}
_HALVES = {10: "float16", 16: "bfloat16"}  # two bytes an entry; read exactly, and held as float32
SIGNED_NIBBLES = 22  # TensorProto.INT4
_NIBBLES = (21, SIGNED_NIBBLES)  # UINT4 too: two entries a byte, the first in its low bits; each is held as a byte


class MissingFile(Exception):
    """Weights lie in a file that was not given."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(name)


class Tensors:
    """Reads the tensors of one file, within its limits. ``external`` maps file names to their bytes."""

    def __init__(self, external: Mapping[str, bytes], limits: Limits) -> None:
        self._external, self._limits = external, limits
        self._room = limits.total_elements

    def spend(self, elements: int) -> None:
        """Count ``elements`` that are about to be held; `Refusal` over the limit of the whole file."""
        self._room -= elements
        if self._room < 0:
            raise Refusal(
                f"all constants together have over {self._limits.total_elements} elements", "Use a smaller model"
            )

    def read(self, tensor: Any) -> np.ndarray:
        """A TensorProto as a read-only array. Raises `Refusal` or `MissingFile`."""
        shape = tuple(tensor.dims)
        if any(size < 0 for size in shape) or len(shape) > 16:
            raise Refusal("a tensor has an impossible shape", SEGMENT_REMEDY)
        elements = self._limits.check_tensor(shape)
        if not any(tensor.data_type in known for known in (_TYPES, _HALVES, _NIBBLES)):
            raise Refusal(
                f"a tensor is of the type number {tensor.data_type}, which is not supported",
                "Export the model in float32",
            )
        packed = tensor.data_type in _NIBBLES
        dtype, field = _TYPES.get(tensor.data_type, (np.uint8 if packed else np.uint16, "int32_data"))
        stored = -(-elements // 2) if packed else elements
        if tensor.HasField("segment"):
            raise Refusal("a tensor is stored in segments", SEGMENT_REMEDY)
        if tensor.data_location == EXTERNAL:
            raw = self._elsewhere(tensor, stored * np.dtype(dtype).itemsize)
        elif tensor.HasField("raw_data"):
            raw = memoryview(tensor.raw_data)
        else:
            entries = getattr(tensor, field)
            if len(entries) != stored:
                raise Refusal("a tensor's data does not have the size of its shape", SEGMENT_REMEDY)
            self.spend(elements)
            return _frozen(_unpacked(np.array(entries, dtype=dtype), tensor.data_type, elements).reshape(shape))
        little_endian = np.dtype(dtype).newbyteorder("<")
        if len(raw) != stored * little_endian.itemsize:
            raise Refusal("a tensor's data does not have the size of its shape", SEGMENT_REMEDY)
        self.spend(elements)
        if dtype is np.bool_:
            return _frozen(np.frombuffer(raw, dtype=np.uint8).astype(np.bool_).reshape(shape))
        array = np.frombuffer(raw, dtype=little_endian).astype(dtype, copy=True)
        return _frozen(_unpacked(array, tensor.data_type, elements).reshape(shape))

    def _elsewhere(self, tensor: Any, size: int) -> memoryview:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        name = entries.get("location", "")
        if name not in self._external:
            raise MissingFile(name)
        offset, length = _natural(entries.get("offset", "0")), _natural(entries.get("length", str(size)))
        content = memoryview(self._external[name])
        if length != size or offset + length > len(content):
            raise Refusal(
                "a tensor lies outside the file its weights are in", "Upload the two files of one and the same export"
            )
        return content[offset : offset + length]


def _unpacked(stored: np.ndarray, data_type: int, elements: int) -> np.ndarray:
    """The numbers whose bits are ``stored``; float32 holds every number of two bytes, a byte those of four bits."""
    if data_type in _NIBBLES:
        nibbles = np.stack([stored & 15, stored >> 4], axis=-1).reshape(-1)[:elements].astype(np.uint8)
        signed = data_type == SIGNED_NIBBLES
        return np.where(nibbles > 7, nibbles.astype(np.int8) - 16, nibbles).astype(np.int8) if signed else nibbles
    match _HALVES.get(data_type):
        case "float16":
            return stored.view(np.float16).astype(np.float32)
        case "bfloat16":
            return (stored.astype(np.uint32) << 16).view(np.float32)
        case _:
            return stored


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Refusal("where a tensor's data lie is not given as a number", SEGMENT_REMEDY)
    return int(text)


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
