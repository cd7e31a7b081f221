"""Values of what is said from the training side, from files of one form, against the public functions:

    python -m tests.training.acceptance FOLDER

FOLDER holds ``curvature.json``, ``drift.json``, ``frequency.json``, ``layers.json`` and ``sigma1.json``. Every value
that is off is printed, and the exit status is then 1; so it is where a file, or what checks it, is missing.
"""

import json
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NAMES = ("curvature", "drift", "frequency", "layers", "sigma1")
TOLERANCE = 1e-12  # relative, of values above 1

Differences = Iterator[tuple[str, float, float]]
"""What a value is called, what the code makes of it, what the file says."""


def off(differences: Differences) -> list[str]:
    """A line for each value that is off."""
    lines = []
    for name, found, expected in differences:
        if not abs(found - expected) <= TOLERANCE * max(1.0, abs(expected)):  # NaN too
            lines.append(f"{name}: {found!r}, not {expected!r}")
    return lines


def check(name: str) -> Callable[[dict[str, Any]], Differences] | None:
    """What compares a file of that name; None: nothing here does yet."""
    module = f"tests.training.check_{name}"
    if find_spec(module) is None:
        return None
    made: Callable[[dict[str, Any]], Differences] = import_module(module).differences
    return made


def main(folder: Path) -> int:
    failed = False
    for name in NAMES:
        file, differences = folder / f"{name}.json", check(name)
        if differences is None or not file.is_file():
            print(f"{name}: {'there is no check of it' if file.is_file() else f'{file} is missing'}")
            failed = True
            continue
        lines = off(differences(json.loads(file.read_text())))
        failed = failed or bool(lines)
        print(*([f"{name}: all values hold"] if not lines else [f"{name}: {line}" for line in lines]), sep="\n")
    return int(failed)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.training.acceptance FOLDER")
    sys.exit(main(Path(sys.argv[1])))
