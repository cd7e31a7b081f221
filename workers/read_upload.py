"""The sandboxed child: ``python -m workers.read_upload``. Reads one upload, writes ``answer.json``, ends.

The order comes on stdin. The answer is ``{"summary": ...}`` or ``{"problem": ...}``; for a data set the folder then
holds ``x.npy`` (float32) and, with labels, ``y.npy`` (int64). A crash leaves no answer; nor does a full disk, which the
exit status EX_TEMPFAIL stands for.
"""

import errno
import json
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

from models import storage
from models.problems import Problem
from workers.confine import confine, die_with_parent, inherited
from workers.limits import exceeded
from workers.rejected import Json, Rejected

# Of torch on the CPU, of onnxruntime, of the dynamic linker and of threads: none has an exception of its own for it.
ALLOCATION_FAILED = (
    *("can't allocate memory", "cannot allocate memory", "bad allocation", "bad_alloc"),
    *("cannot map", "failed to map", "can't start new thread"),
)
ERRORS = {errno.EFBIG: "file_bytes", errno.EMFILE: "open_files", errno.ENOMEM: "memory_bytes"}


def read(order: Json, lower: Mapping[str, int]) -> Json:
    """The answer to an order; ``lower``: limits that this process was started with."""
    try:
        with storage.reported():
            return {"summary": _summary(order)}
    except Rejected as no:
        return {"problem": no.document}
    except storage.StorageFull:
        raise
    except Exception as error:
        traceback.print_exc()
        name = _limit(error)
        if name is not None:
            return {"problem": exceeded(name, order["limits"], lower)}
        return {
            "problem": Problem.INTERNAL_ERROR.document("Reading the file failed in a way that radii does not know.")
        }


def _limit(error: BaseException | None) -> str | None:
    """The limit that an error, or what it came from, tells of."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in ERRORS:
            return ERRORS[error.errno]
        said = str(error).lower()
        if isinstance(error, MemoryError) or any(words in said for words in ALLOCATION_FAILED):
            return "memory_bytes"
        error = error.__cause__ or error.__context__
    return None


def _summary(order: Json) -> Json:
    if order["noun"] == "model":
        from workers.read_model import read_model

        return read_model(order)
    from workers.read_dataset import read_dataset

    return read_dataset(Path(order["file"]), Path.cwd(), max_bytes=order["max_dataset_bytes"])


def main() -> None:
    die_with_parent()
    order = json.load(sys.stdin)
    lower = inherited(order["limits"])
    confine(**order["limits"])
    try:
        with storage.reported():
            Path("answer.json").write_text(json.dumps(read(order, lower), allow_nan=False))
    except storage.StorageFull:
        sys.exit(os.EX_TEMPFAIL)


if __name__ == "__main__":
    main()
