"""What this service can do, for programs to read."""

import json
from importlib.resources import files
from typing import Any

from fastapi import APIRouter
from pydantic import TypeAdapter

from app.checks import MOST_SHARDS
from app.formats import CANONICAL, CANONICAL_WEIGHTS, SAFETENSORS
from app.middleware import JSON_LIMIT
from app.parameters import LARGEST_PAGE
from app.routes.models import MOST_ELEMENTS
from app.service import InService
from radii import __version__
from radii.architectures import ARCHITECTURES
from radii.methods import KINDS

router = APIRouter(tags=["service"])


def operators() -> list[dict[str, Any]]:
    """The ONNX operators that are read, as generated from their registry (which needs torch; this file does not)."""
    file = files("radii") / "operators.json"
    listed: list[dict[str, Any]] = json.loads(file.read_text()) if file.is_file() else []
    return listed


@router.get("/capabilities", summary="Methods, formats, operators and limits")
def show(service: InService) -> dict[str, Any]:
    """Each method comes with the JSON Schema of its parameters."""
    return {
        "versions": {"api": "v1", "radii": __version__},
        "methods": [{"kind": kind, "schema": method.model_json_schema()} for kind, method in KINDS.items()],
        "formats": {
            "models": [
                {"format": "onnx", "media_type": "application/octet-stream", "suffix": ".onnx"},
                {
                    "format": CANONICAL,
                    "media_type": "application/json",
                    "suffix": ".json",
                    "needs": [CANONICAL_WEIGHTS],
                },
                {
                    "format": SAFETENSORS,
                    "media_type": "application/octet-stream",
                    "suffix": ".safetensors",
                    "needs": ["architecture"],
                },
            ],
            "datasets": [{"format": "npz", "media_type": "application/zip", "suffix": ".npz", "arrays": ["x", "y"]}],
            "inputs": [{"format": "nested lists", "media_type": "application/json", "arrays": ["inputs", "labels"]}],
            "results": ["application/json", "application/jsonl", "application/x-ndjson"],
        },
        "limits": {
            "upload_bytes": service.settings.max_upload_bytes,
            "json_bytes": JSON_LIMIT,
            "page": LARGEST_PAGE,
            "input_elements": MOST_ELEMENTS,
            "shards": MOST_SHARDS,
        },
        "architectures": [
            {"name": name, "schema": TypeAdapter(cls).json_schema()} for name, cls in ARCHITECTURES.items()
        ],
        "operators": service.operators,
    }
