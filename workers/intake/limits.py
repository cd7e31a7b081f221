"""What is said when reading an upload meets a limit: which one, whose it is, and how to raise it."""

import errno
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from models.problems import Problem
from workers.intake.rejected import Json

if TYPE_CHECKING:
    from models.settings import Settings


class Limit(NamedTuple):
    """In words."""

    exceeded: str
    setting: str  # its variable; empty: it is fixed
    shell: str


LIMITS = {
    "cpu_seconds": Limit("It took longer than {} s of CPU time", "RADII_INTAKE_SECONDS", "ulimit -t"),
    "memory_bytes": Limit("It needed more than {} bytes of memory", "RADII_INTAKE_MEMORY_BYTES", "ulimit -v"),
    "file_bytes": Limit("It needed a file of more than {} bytes", "RADII_MAX_DATASET_BYTES", "ulimit -f"),
    "open_files": Limit("It needed more than {} open files", "", "ulimit -n"),
}
OPEN_FILES = 64

ERRORS = {errno.EFBIG: "file_bytes", errno.EMFILE: "open_files", errno.ENOMEM: "memory_bytes"}
# Of torch on the CPU, of onnxruntime, of oneDNN, of the dynamic linker and of threads: none has an exception of its own
# for it.
ALLOCATION_FAILED = (
    *("can't allocate memory", "cannot allocate memory", "bad allocation", "bad_alloc", "could not create a primitive"),
    *("cannot map", "failed to map", "can't start new thread"),
)


def limits_of(settings: "Settings") -> dict[str, int]:
    """What reading one upload may take."""
    return {
        "cpu_seconds": settings.intake_seconds,
        "memory_bytes": settings.intake_memory_bytes,
        "file_bytes": 2 * settings.max_dataset_bytes + 2**20,  # float64 in Fortran order is unpacked as it is
        "open_files": OPEN_FILES,
    }


def met(error: BaseException | None) -> str | None:
    """The limit that an error, or what it came from, tells of."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in ERRORS:
            return ERRORS[error.errno]
        said = str(error).lower()
        # CPython 3.11 loses a MemoryError on the way out of an import: "error return without exception set".
        if isinstance(error, MemoryError | SystemError) or any(words in said for words in ALLOCATION_FAILED):
            return "memory_bytes"
        error = error.__cause__ or error.__context__
    return None


def exceeded(name: str, limits: Mapping[str, int], inherited: Mapping[str, int]) -> Json:
    """The problem of an upload that met a limit. ``inherited``: limits of the worker itself that are lower."""
    words = LIMITS[name].exceeded
    if name not in inherited:
        return Problem.INTAKE_LIMIT.document(f"{words.format(limits[name])}.")
    return Problem.INTAKE_LIMIT.document(
        f"{words.format(inherited[name])}. That limit is not radii's, whose own is {limits[name]}: the worker "
        f"was started under it ({LIMITS[name].shell}).",
        remedy=f"Start the worker without that limit ({LIMITS[name].shell} unlimited in the shell that starts it; with "
        "systemd, Docker or a batch system, where the worker is configured), or simplify the file.",
    )
