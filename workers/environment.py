"""What stands in the environment of the processes that workers start. Standard library alone."""

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEMPORARY = Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108 (tempfile would write to it, to find out whether it can)

# Without these glibc gives every batch's buffers back to the system and faults them in again: 1.6 to 2.4 times slower.
ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**26),
}
DEVICE_PREFIXES = ("CUDA_", "NVIDIA_", "LD_LIBRARY_PATH")
# It overrules what a process says of TF32. The like of it (CUBLAS_EMULATE_*, ONEDNN_DEFAULT_FPMATH_MODE,
# TORCH_ALLOW_TF32_CUBLAS_OVERRIDE) has none of the prefixes: what a network answers depends on no such variable.
ARITHMETIC = {"NVIDIA_TF32_OVERRIDE"}


def bare_environment() -> dict[str, str]:
    """What any child needs and no more: nothing in it is secret."""
    return {
        "PYTHONPATH": str(ROOT),
        "PYTHONSAFEPATH": "1",
        "OMP_NUM_THREADS": "1",
        "LC_ALL": "C.UTF-8",
        "ORT_DISABLE_TELEMETRY": "1",
        "LOG_FORMAT": os.environ.get("RADII_LOG_FORMAT", "text"),  # no setting of theirs: they have none
    }


def compiler() -> dict[str, str]:
    """What torch.compile and Triton are told: to compile in the runner, whose threads no fork survives; and where to
    keep what they make, which runners will run: in a folder that is this user's alone. torch doesn't start without it.

    Raises ``OSError`` on a full disk, unless the folder is there already.
    """
    folder = TEMPORARY / f"radii-compiled-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        folder = Path(tempfile.mkdtemp(dir=TEMPORARY))
    for name in ("inductor", "triton"):
        (folder / name).mkdir(exist_ok=True)
    return {
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TRITON_CACHE_DIR": str(folder / "triton"),
    }
