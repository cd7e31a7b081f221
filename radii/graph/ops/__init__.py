"""The operators, one file a family, and the registry of them all.

Every module of this folder is imported: a class that is entered there (`registry.onnx_operator`) is an operator, and
nothing else need know of it.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from radii.graph.ops.registry import OPERATORS

__all__ = ["OPERATORS", "discover", "operators"]


def discover() -> None:
    """Import every module of this folder that is not imported yet."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")


def operators() -> list[dict[str, Any]]:
    """What the service lists as supported, as JSON values: name, family, ONNX attributes, Lipschitz behaviour."""
    return [
        {
            "name": name,
            "family": cls.__module__.rpartition(".")[2],
            "attributes": sorted(cls.attributes),
            "lipschitz": cls.behaviour,
        }
        for name, cls in sorted(OPERATORS.items())
    ]


discover()
