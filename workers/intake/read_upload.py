"""Reads one upload, in a process that is confined (``workers.intake.fork_server``), and writes ``answer.json``.

The answer is ``{"summary": ...}`` or ``{"problem": ...}``; for a data set the folder then
holds ``x.npy`` (float32) and, with labels, ``y.npy`` (int64). A crash leaves no answer; nor does a full disk, which the
exit status EX_TEMPFAIL stands for.
"""

import json
import os
import traceback
from collections.abc import Mapping
from pathlib import Path

from models import storage
from models.problems import Problem
from workers.intake.limits import exceeded, met
from workers.intake.rejected import Json, Rejected


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
        if isinstance(error, FileNotFoundError) and error.filename in (order["file"], *_beside(order)):
            raise  # it was there when the order was made: the blob store is away, for which the next attempt waits
        traceback.print_exc()
        name = met(error)
        if name is not None:
            return {"problem": exceeded(name, order["limits"], lower)}
        return {
            "problem": Problem.INTERNAL_ERROR.document("Reading the file failed in a way that radii does not know.")
        }


def _beside(order: Json) -> list[str]:
    return list(order.get("external_data", {}).values())


def _summary(order: Json) -> Json:
    if order["noun"] == "model":
        from workers.intake.read_model import read_model

        return read_model(order)
    from workers.intake.read_dataset import read_dataset

    return read_dataset(Path(order["file"]), Path.cwd(), max_bytes=order["max_dataset_bytes"])


def read_order(order: Json, lower: Mapping[str, int]) -> int:
    """Leave the answer in this folder; the exit status that the process is to end with."""
    try:
        with storage.reported():
            Path("answer.json").write_text(json.dumps(read(order, lower), allow_nan=False))
    except storage.StorageFull:
        return os.EX_TEMPFAIL
    return 0
