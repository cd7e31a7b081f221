"""The sandboxed child: ``python -m workers.read_upload``. Reads one upload, writes ``answer.json``, ends.

The order comes on stdin. The answer is ``{"summary": ...}`` or ``{"problem": ...}``; for a data set the folder then
holds ``x.npy`` (float32) and, with labels, ``y.npy`` (int64). A crash leaves no answer.
"""

import errno
import json
import sys
import traceback
from pathlib import Path

from models.problems import Problem
from workers.confine import confine, die_with_parent
from workers.rejected import Json, Rejected

# Of torch on the CPU, and of onnxruntime: neither has an exception of its own for it.
ALLOCATION_FAILED = ("can't allocate memory", "bad allocation", "bad_alloc")


def read(order: Json) -> Json:
    """The answer to an order."""
    try:
        if order["noun"] == "model":
            from workers.read_model import read_model

            return {"summary": read_model(order)}
        from workers.read_dataset import read_dataset

        return {"summary": read_dataset(Path(order["file"]), Path.cwd(), max_bytes=order["max_dataset_bytes"])}
    except Rejected as no:
        return {"problem": no.document}
    except Exception as error:
        traceback.print_exc()
        return {"problem": _failed(error, order["limits"])}


def _failed(error: Exception, limits: Json) -> Json:
    if isinstance(error, MemoryError) or any(words in str(error) for words in ALLOCATION_FAILED):
        return Problem.INTAKE_LIMIT.document(f"It needed more than {limits['memory_bytes']} bytes of memory.")
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return Problem.INTAKE_LIMIT.document(f"It needed a file of more than {limits['file_bytes']} bytes.")
    return Problem.INTERNAL_ERROR.document("Reading the file failed in a way that radii does not know.")


def main() -> None:
    die_with_parent()
    order = json.load(sys.stdin)
    confine(**order["limits"])
    Path("answer.json").write_text(json.dumps(read(order), allow_nan=False))


if __name__ == "__main__":
    main()
