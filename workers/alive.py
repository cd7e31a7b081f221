"""Whether the workers of this machine or container live: ``python -m workers.alive``, exit status 0 or 1.

It looks at files alone, which each pool process touches: where the database is away, a restart would not bring it back.
Standard library alone, for it runs every few seconds.
"""

import os
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

SILENT_SECONDS = 90.0
FOLDER = Path(tempfile.gettempdir()) / f"radii-alive-{os.getuid()}"


def touch(pid: int, *, gone: bool = False) -> None:
    """The process is alive; or has ended in good order. On a full disk an old file can be touched."""
    with suppress(OSError):
        if gone:
            (FOLDER / str(pid)).unlink()
        else:
            FOLDER.mkdir(mode=0o700, exist_ok=True)
            (FOLDER / str(pid)).touch()


def alive() -> bool:
    """Whether a pool process has been heard of late; the files of those that ended long ago go."""
    at, found = time.time(), False
    with suppress(OSError):
        for file in FOLDER.iterdir():
            if at - file.stat().st_mtime < SILENT_SECONDS:
                found = True
            else:
                file.unlink()
    return found


if __name__ == "__main__":
    sys.exit(0 if alive() else "no worker of this machine has been heard of late")
