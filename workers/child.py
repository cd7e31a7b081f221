"""A warm runner as its supervisor sees it: a process, an inbox of what it says, and a way to end it."""

import json
import os
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

from models.base import Json
from workers.desk import Inbox

ROOT = Path(__file__).parent.parent

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
    return {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"}


def compiler() -> dict[str, str]:
    """What torch.compile and Triton are told: to compile in the runner, whose threads no fork survives; and where to
    keep what they make, which runners will run: in a folder that is this user's alone."""
    folder = Path(tempfile.gettempdir()) / f"radii-compiled-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        folder = Path(tempfile.mkdtemp())
    return {
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TRITON_CACHE_DIR": str(folder / "triton"),
    }


class Ended:
    """In the inbox: the process is gone, or has closed its mouth for good."""


class Runner:
    """A ``python -m workers.runner``. It may be told the noise secret, so that travels by its stdin alone."""

    def __init__(self) -> None:
        keys = {key for key in os.environ if key.startswith(DEVICE_PREFIXES)} - ARITHMETIC
        devices = {key: os.environ[key] for key in keys}
        path = {"PATH": os.environ.get("PATH", os.defpath)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workers.runner"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**bare_environment(), **path, **ALLOCATOR, **compiler(), **devices},
            start_new_session=True,  # Ctrl-C in a terminal is for the Celery process, which will let us know
        )
        self.inbox: Inbox = SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    break  # it died in the middle of a word
                self.inbox.put(json.loads(line))
        self.inbox.put(Ended)

    def send(self, order: Json) -> None:
        """Give it an order. If it is gone already, ``Ended`` will say so."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def gone(self) -> bool:
        """Whether it has ended, of its own will or not."""
        return self.process.poll() is not None

    def kill(self) -> int:
        """End it now; its exit status."""
        self.process.kill()
        return self.process.wait()
