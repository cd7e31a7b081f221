"""Reads an .npz from a stranger into plain arrays. Nothing in it is trusted: not names, sizes, shapes, nor types.

Members are unpacked as streams, up to the size that a checked header allows; no pickle is ever opened.
"""

import os
import zipfile
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from models import storage
from models.problems import Problem
from workers.intake.rejected import Json, Rejected

Array = npt.NDArray[Any]

BLOCK = 1 << 20
MAX_CLASSES = 100_000
# Noiseless digits in float64 pack 40 times; DEFLATE of one repeated byte 1,000 times. No data set lies beyond this.
MAX_RATIO, RATIO_FROM = 200, 2**26
HOW = "Write it with numpy.savez('data.npz', x=x, y=y)."


def invalid(detail: str) -> Rejected:
    return Rejected(Problem.INVALID_DATASET, detail)


def read_dataset(file: Path, folder: Path, *, max_bytes: int) -> Json:
    """Write ``x.npy`` (float32) and, if there are labels, ``y.npy`` (int64) to ``folder``; what is known of them.

    Raises ``Rejected`` and, before it fills the disk, ``StorageFull``.
    """
    with file.open("rb") as stream:
        if stream.read(4) != b"PK\x03\x04":
            raise Rejected(Problem.UNSUPPORTED_DATASET_FORMAT, "The file is not an .npz.")
        try:
            with zipfile.ZipFile(stream) as archive:
                members = _members(archive)
                packed = file.stat().st_size
                x = _unpack(archive, members["x"], folder / "x.raw", 2 * max_bytes, packed)
                y = _unpack(archive, members["y"], folder / "y.raw", max_bytes, packed) if "y" in members else None
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise invalid(f"The .npz is damaged or cut off: {error}. {HOW}") from None
    return {**_inputs(x, folder / "x.npy", max_bytes), **_labels(y, len(x), folder / "y.npy")}


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members x and, where given, y."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name not in ("x", "y") or name == info.filename:
            raise invalid(f"The .npz has a member {info.filename[:80]!a}; x and y are the only ones known. {HOW}")
        if name in members:
            raise invalid(f"The .npz has the member {name}.npy twice. {HOW}")
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise invalid(f"The member {name}.npy is encrypted or packed in an unusual way. {HOW}")
        members[name] = info
    if "x" not in members:
        raise invalid(f"The .npz has no x. {HOW}")
    return members


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, raw: Path, max_bytes: int, packed: int) -> Array:
    """The member's array, mapped from the file ``raw``; checked before its bytes are unpacked, and after."""
    with archive.open(info) as stream:
        dtype, shape, fortran = _header(stream, info.filename)
        size = prod(shape) * dtype.itemsize
        if size > max_bytes:
            raise invalid(
                f"{info.filename} has {size} bytes, over the limit of {max_bytes} (RADII_MAX_DATASET_BYTES). "
                "Certify it in parts."
            )
        if size > max(RATIO_FROM, MAX_RATIO * packed):
            raise invalid(f"{info.filename} unpacks to {size // packed} times the size of the file: a zip bomb. {HOW}")
        storage.require(raw.parent, size)
        missing = size
        with raw.open("xb") as file:
            while block := stream.read(min(BLOCK, missing)) if missing else b"":
                missing -= len(block)
                file.write(block)
        if missing or stream.read(1):
            raise invalid(f"{info.filename} does not have the {size} bytes that its header promises. {HOW}")
    return np.memmap(raw, dtype, "r", shape=shape, order="F" if fortran else "C")


def _header(stream: IO[bytes], name: str) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Type, shape and order, from the .npy header alone."""
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):  # which numpy writes for every array of plain numbers
            raise ValueError(f"format version {version}")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    except Exception as error:  # numpy parses it with Python's tokenizer and ast, and lets all of theirs through
        raise invalid(f"{name} has no readable header: {str(error)[:200]}. {HOW}") from None
    if dtype.hasobject:
        array = name.removesuffix(".npy")
        kind = "'int64'" if array == "y" else "'float32'"
        raise invalid(
            f"{name} holds Python objects (a pickle), which are never read. Give it a numeric type: "
            f"{array} = {array}.astype({kind}), if each input has the same shape."
        )
    if dtype.kind not in "fiub" or (dtype.kind == "f" and dtype.itemsize > 8):
        raise invalid(f"{name} is of type {dtype}; floats of up to 64 bits and integers are known. {HOW}")
    if any(size < 1 for size in shape):
        raise invalid(f"{name} has the shape {shape}, that is no values.")
    return dtype, shape, fortran


def _inputs(x: Array, file: Path, max_bytes: int) -> Json:
    """Write x as float32; what is known of it."""
    if x.ndim < 2:
        raise invalid(
            f"x has the shape {x.shape}; it must be (N, ...), at least two axes. "
            "One input: x[None]; inputs of one number each: x[:, None]."
        )
    if x.size * 4 > max_bytes:
        raise invalid(
            f"x has {x.size * 4} bytes as float32, over the limit of {max_bytes} (RADII_MAX_DATASET_BYTES). "
            "Certify it in parts."
        )
    least, most = np.inf, -np.inf
    grids = [[0.0, 1.0], [0.0, 255.0]]
    with _plain(file, np.dtype("<f4"), x.shape) as out:
        for first, rows in _blocks(x):
            with np.errstate(over="ignore"):  # what becomes infinite is refused just below
                values = np.ascontiguousarray(rows, "<f4")
            if not np.isfinite(values).all():
                index = first + int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))[0])
                raise invalid(f"x[{index}] holds NaN or infinity, or a number too large for float32.")
            least, most = min(least, float(values.min())), max(most, float(values.max()))
            grids = [grid for grid in grids if _on_grid(values, *grid)]
            out.write(values.data)  # tofile's errors don't say why
    facts = {"count": len(x), "shape": list(x.shape[1:]), "dtype": str(x.dtype), "min": least, "max": most}
    return {**facts, "grid": grids[0] if grids else None}


def _on_grid(values: Array, low: float, high: float) -> bool:
    """Whether all values are whole 255ths of the way from ``low`` to ``high``, as 8-bit pixels are."""
    steps = np.rint((values.astype(np.float64) - low) * (255 / (high - low)))
    whole = (steps.astype(np.float32) / np.float32(255)) * np.float32(high - low) if high - low != 255 else steps
    return bool(((steps >= 0) & (steps <= 255)).all() and (whole + np.float32(low) == values).all())


def _labels(y: Array | None, count: int, file: Path) -> Json:
    """Write y as int64; its histogram."""
    if y is None:
        return {"labels": None, "num_labels": None}
    if y.ndim == 2 and y.shape[0] == count:
        row = "y.ravel()" if y.shape[1] == 1 else "y.argmax(1) if they are one-hot"
        raise invalid(
            f"y has the shape {y.shape}; for {count} inputs it must be ({count},), class indices: {row}; "
            "leave out what a regressor was trained for."
        )
    if y.dtype.kind not in "iu":
        raise invalid(
            f"y is of type {y.dtype}; labels are class indices: y.astype('int64') if that is what they are; "
            "leave out what a regressor was trained for."
        )
    if y.shape != (count,):
        raise invalid(f"y has the shape {y.shape}; for {count} inputs it must be ({count},).")
    if int(y.min()) < 0 or int(y.max()) >= MAX_CLASSES:
        raise invalid(f"y runs from {y.min()} to {y.max()}; labels are class indices from 0 to {MAX_CLASSES - 1}.")
    with _plain(file, np.dtype("<i8"), y.shape) as out:
        out.write(np.ascontiguousarray(y, "<i8").data)
    labels, counts = np.unique(y, return_counts=True)
    histogram = {str(label): int(n) for label, n in zip(labels, counts, strict=True)}
    return {"labels": histogram, "num_labels": int(y.max()) + 1}


def _blocks(x: Array) -> Iterator[tuple[int, Array]]:
    """x in runs of rows of about ``BLOCK`` values, each with the index of its first row."""
    rows = max(1, BLOCK // prod(x.shape[1:]))
    for first in range(0, len(x), rows):
        yield first, x[first : first + rows]


class _plain:  # noqa: N801 (reads as a function)
    """A new .npy file with its header written, whose bytes are on the disk when the block ends."""

    def __init__(self, file: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        storage.require(file.parent, prod(shape) * dtype.itemsize)
        self.stream = file.open("xb")
        header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self.stream, header)
        self.stream.flush()

    def __enter__(self) -> IO[bytes]:
        return self.stream

    def __exit__(self, *_: object) -> None:
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.stream.close()
