"""What ends the children when `radii up` itself is killed: ``python -m radii.cli.watchdog``, started by it.

Standard input is a pipe whose other end the supervisor alone keeps open. Lines on it name process groups: ``+ID`` one
that has begun, ``-ID`` one that has ended. The pipe closes when the supervisor ends, however it ends; what then is
left is killed. The watchdog inherits the lock on the data folder, so that the folder is free only once nothing runs.
"""

import os
import signal
import sys
from collections.abc import Iterable


def left(lines: Iterable[str]) -> set[int]:
    """The process groups that began and did not end."""
    groups: set[int] = set()
    for line in lines:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    return groups


def main() -> None:
    for group in left(sys.stdin):
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    main()
