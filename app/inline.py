"""Inputs that stand in a request: checked, and stored as the data set that an upload of them would have become.

In plain Python: the API has no numpy. What it finds is what intake finds of the same file; a test holds them together.
"""

import io
import sys
import zipfile
from array import array
from collections import Counter
from dataclasses import dataclass
from typing import Any

from app.errors import Refusal, invalid, pointer
from models.base import Json
from models.blobs import Blobs
from models.repositories import intake
from models.tables import Dataset
from models.tenant_session import TenantSession
from radii.float32 import rounded
from radii.shapes import rearrangement

# 255ths of a range, as float32 (a quotient of two such numbers is rounded twice here, to no effect: 53 >= 2 * 24 + 2).
GRIDS = {(0.0, 1.0): frozenset(array("f", (k / 255 for k in range(256)))), (0.0, 255.0): frozenset(range(256))}


@dataclass(frozen=True)
class Inputs:
    """Inputs as an upload has them: x, float32 of ``shape`` (N, ...), and y, N class indices."""

    x: "array[float]"
    shape: tuple[int, ...]
    y: "array[int] | None"


def checked(inputs: list[Any], labels: list[int] | None, *, shape: list[int], low: float, high: float) -> Inputs:
    """Nested lists of N inputs of ``shape``. Refuses (422) what is none, or out of range, and says at which place."""
    if not inputs:
        raise _refused("there is no input in it", "inputs")
    if _shape(inputs) == tuple(shape):
        raise _refused("is one input; give a list of inputs: [x]", "inputs")
    if labels is not None and len(labels) != len(inputs):
        raise _refused(f"has {len(labels)} for {len(inputs)} inputs", "labels")
    x, ends = array("f"), (rounded(low), rounded(high))
    for index, one in enumerate(inputs):
        if (has := _shape(one)) != tuple(shape) and (line := rearrangement(has, shape)):
            words = f"has the shape {has}, the model's input {tuple(shape)}. With NumPy, x being all inputs: {line}"
            raise _refused(words, "inputs", str(index))
        _append(x, one, tuple(shape), ends, ["inputs", str(index)])
    return Inputs(x, (len(inputs), *shape), None if labels is None else array("q", labels))


def keep(blobs: Blobs, inputs: Inputs) -> tuple[str, int, Json]:
    """Sha256 and size of the .npz that these inputs are, and the summary of it; the arrays lie in ``blobs``."""
    arrays = {"x": _npy("<f4", inputs.shape, inputs.x)}
    if inputs.y is not None:
        arrays["y"] = _npy("<i8", inputs.shape[:1], inputs.y)
    npz = io.BytesIO()
    with zipfile.ZipFile(npz, "w") as archive:
        for name, content in arrays.items():  # with a date of its own: the same inputs are the same bytes
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), content)
    kept = {name: blobs.keep(content) for name, content in arrays.items()}
    x_blob, y_blob = kept["x"], kept.get("y")
    grid = next((list(ends) for ends, values in GRIDS.items() if values.issuperset(inputs.x)), None)
    labels = None if inputs.y is None else {str(label): n for label, n in sorted(Counter(inputs.y).items())}
    summary = {
        "count": inputs.shape[0],
        "shape": list(inputs.shape[1:]),
        "dtype": "float32",
        "min": min(inputs.x),
        "max": max(inputs.x),
        "grid": grid,
        "labels": labels,
        "num_labels": None if inputs.y is None else max(inputs.y) + 1,
        "digest": intake.fingerprint(x_blob, y_blob),
        "x_blob": x_blob,
        "y_blob": y_blob,
    }
    return blobs.keep(npz.getvalue()), npz.tell(), summary


def registered(session: TenantSession, tenant: str, sha256: str, size: int, summary: Json) -> Dataset:
    """The tenant's data set of what was kept; the same inputs are the same data set."""
    name = "inputs of a request"
    return intake.add_read_dataset(session, tenant, sha256=sha256, size=size, name=name, summary=summary)


def _shape(value: Any) -> tuple[int, ...]:
    """The shape of a nested list, if all its lists are as long as their first neighbour."""
    lengths = []
    while isinstance(value, list):
        lengths.append(len(value))
        value = value[0] if value else None
    return tuple(lengths)


def _append(x: "array[float]", value: Any, shape: tuple[int, ...], ends: tuple[float, float], path: list[str]) -> None:
    if not isinstance(value, list) or len(value) != shape[0]:
        what = f"a list of {len(value)}" if isinstance(value, list) else "no list"
        raise _refused(f"is {what}; the model's input has {shape[0]} here", *path)
    if len(shape) > 1:
        for index, one in enumerate(value):
            _append(x, one, shape[1:], ends, [*path, str(index)])
        return
    for index, number in enumerate(value):
        if type(number) not in (int, float):
            raise _refused("is no number", *path, str(index))
        try:
            x.append(number)
        except OverflowError:  # an integer beyond any float
            x.append(float("inf"))
        if not ends[0] <= x[-1] <= ends[1]:  # nor NaN
            words = f"is {x[-1]:g} as float32, outside the model's range [{ends[0]:g}, {ends[1]:g}]"
            raise _refused(words, *path, str(index))


def _refused(words: str, *path: str) -> Refusal:
    return invalid(f"{pointer(*path)}: {words}", *path)


def _npy(dtype: str, shape: tuple[int, ...], values: "array[Any]") -> bytes:
    """The bytes of a .npy file, version 1.0, as numpy writes them, with room for the first axis to grow."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}" + " " * (21 - len(str(shape[0])))
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + values.tobytes()
