"""Cases with independent truth: the shared ones where they lie beside the checkout, else the copy under tests/data."""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SHARED = HERE.parent.parent / "shared" / "acceptance"


def load(name: str) -> Any:
    """The parsed JSON of the acceptance file ``name`` (without its ending)."""
    return json.loads(_file(f"{name}.json").read_text())


def real(name: str) -> Path:
    """A small file that once failed, of ``real``."""
    return _file(f"real/{name}")


def public() -> dict[str, Any]:
    """What is known of each of the public networks beside the checkout (``manifest.json``), by name; else nothing."""
    if not (SHARED / "public").is_dir():
        return {}
    return {entry["file"].removesuffix(".onnx"): entry for entry in load("public/manifest")["files"]}


def _file(name: str) -> Path:
    shared = SHARED / name
    return shared if shared.exists() else HERE / "data" / name
