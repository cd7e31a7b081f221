"""The shape of the inputs in a .npz file, from a header alone: the client needs no NumPy, and reads no array."""

import ast
import zipfile
from pathlib import Path
from typing import IO

MAGIC = b"\x93NUMPY"
LARGEST_HEADER = 10_000  # bytes; NumPy's own limit


def input_shape(file: Path) -> tuple[int, ...]:
    """Shape of one input of a .npz file: that of its array x, without the first axis. Raises ``ValueError``."""
    try:
        with zipfile.ZipFile(file) as archive, archive.open("x.npy") as stream:
            return _shape(stream)[1:]
    except KeyError:
        raise ValueError(f"{file} has no array x; write it with numpy.savez({file.name!r}, x=x, y=y)") from None
    except (ValueError, SyntaxError, RecursionError, MemoryError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} is no NumPy .npz file ({error}); write it with numpy.savez") from None


def _shape(stream: IO[bytes]) -> tuple[int, ...]:
    """Format: numpy.lib.format, versions 1 to 3."""
    start = stream.read(8)
    if len(start) < 8 or not start.startswith(MAGIC) or start[6] not in (1, 2, 3):
        raise ValueError("no NumPy header")
    size = int.from_bytes(stream.read(2 if start[6] == 1 else 4), "little")
    if size > LARGEST_HEADER:
        raise ValueError(f"a header of {size} bytes")
    header = ast.literal_eval(stream.read(size).decode("utf-8" if start[6] == 3 else "latin-1"))
    shape = header.get("shape") if isinstance(header, dict) else None
    if not isinstance(shape, tuple) or not shape or not all(type(length) is int for length in shape):
        raise ValueError("no shape in its header")
    return shape
