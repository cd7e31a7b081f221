"""Cases with independent truth: the shared ones where they lie beside the checkout, else the copy under tests/data."""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SHARED = HERE.parent.parent / "shared" / "acceptance"


def load(name: str) -> Any:
    """The parsed JSON of the acceptance file ``name`` (without its ending)."""
    shared = SHARED / f"{name}.json"
    return json.loads((shared if shared.exists() else HERE / "data" / f"{name}.json").read_text())
