"""Whether there is space on the disk, and which errors say that there is none.

Anybody may fill a disk, so every write has to bear an error. The reserve is for what radii itself fills: uploads, and
what intake makes of them, leave it to the rows of jobs that run.
"""

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LARGEST_RESERVE = 64 * 2**20  # bytes; a small file system keeps one in sixteen of its own
SAYS_FULL: dict[str, set[int | str]] = {
    "errno": {errno.ENOSPC, errno.EDQUOT},
    "sqlite_errorcode": {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE},  # the latter: SQLite's index of its log
    "sqlstate": {"53100"},  # PostgreSQL's disk_full
}


class StorageFull(Exception):
    """There is too little space; nothing was kept. Free some, then try again."""


def require(folder: Path, size: int = 0) -> None:
    """Raise ``StorageFull`` unless ``size`` more bytes in ``folder`` leave the reserve of its file system free."""
    usage = shutil.disk_usage(folder)
    reserve = min(LARGEST_RESERVE, usage.total // 16)
    if usage.total and usage.free < size + reserve:
        needed = f"; {size} are needed" if size else ""
        where = "where the service keeps its data (DATA_DIR)"
        raise StorageFull(f"{usage.free} bytes are free {where}, and the last {reserve} are for jobs that run{needed}")


def room(folder: Path, size: int = 0) -> bool:
    """Whether ``require`` is content."""
    try:
        require(folder, size)
    except StorageFull:
        return False
    return True


@contextmanager
def reported() -> Iterator[None]:
    """Turn an error of the block that comes from a full disk, or a quota, into ``StorageFull``."""
    try:
        yield
    except Exception as error:
        cause = getattr(error, "orig", error)  # SQLAlchemy wraps what the driver raises
        if any(getattr(cause, name, None) in codes for name, codes in SAYS_FULL.items()):
            raise StorageFull("no space is left where the service keeps its data") from error
        raise
