"""A small disk that a test may fill: a tmpfs of its own. Mounting takes root."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

MEGABYTES = 14


@dataclass(frozen=True)
class Disk:
    """A file system that is mounted on ``folder``."""

    folder: Path

    def fill(self) -> None:
        """Leave no byte free."""
        with self._zeros.open("ab", buffering=0) as file:
            for size in (2**16, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue

    def empty(self) -> None:
        """Give free again what ``fill`` took."""
        self._zeros.unlink(missing_ok=True)

    def grow(self, megabytes: int) -> None:
        """Become as large as that."""
        self._remount(f"size={megabytes}m")

    def bear_no_new_file(self, bears_none: bool = True) -> None:
        """Have no inode left for a new file or folder, or as many as one likes."""
        found = os.statvfs(self.folder)
        self._remount(f"nr_inodes={found.f_files - found.f_ffree if bears_none else 0}")

    def _remount(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.folder)], check=True)

    @property
    def _zeros(self) -> Path:
        return self.folder / "zeros"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 14 MB."""
    from tests.conftest import missing

    folder = tmp_path / "data"  # where other fixtures keep data, should a test ask for them too
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        missing("the right to mount a small disk (root)")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
