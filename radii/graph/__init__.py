"""ONNX bytes to a checked, immutable graph, and from there to a torch module.

    graph = read_onnx(Path("model.onnx").read_bytes())  # or UnsupportedModel, with every obstacle
    model = to_module(graph)                            # (batch, *graph.input_shape) -> (batch, num_classes)

Needs torch and numpy; ``read_onnx`` imports onnx when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from radii.graph import rules
from radii.graph.applicability import methods, normalized
from radii.graph.architectures import from_weights
from radii.graph.canonical import from_canonical, to_canonical
from radii.graph.composition import Task, composed
from radii.graph.cone.find import with_cones
from radii.graph.ends import left_out, undecorated
from radii.graph.errors import Obstacle, Obstructed, UnsupportedModel
from radii.graph.ir import Graph, Node
from radii.graph.limits import Limits
from radii.graph.network import read_network
from radii.graph.operator import Operator
from radii.graph.ops import OPERATORS, operators
from radii.graph.reader import read_onnx

if TYPE_CHECKING:
    from radii.graph.independence import check_batch_independence
    from radii.graph.module import to_module

__all__ = [
    "OPERATORS",
    "Graph",
    "Limits",
    "Node",
    "Obstacle",
    "Obstructed",
    "Operator",
    "Task",
    "UnsupportedModel",
    "check_batch_independence",
    "composed",
    "from_canonical",
    "from_weights",
    "left_out",
    "methods",
    "normalized",
    "operators",
    "read_network",
    "read_onnx",
    "rules",
    "to_canonical",
    "to_module",
    "undecorated",
    "with_cones",
]


def __getattr__(name: str) -> Any:
    """What runs graphs: imported when it is asked for, since reading them needs no torch."""
    if name == "check_batch_independence":
        from radii.graph.independence import check_batch_independence

        return check_batch_independence
    if name == "to_module":
        from radii.graph.module import to_module

        return to_module
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
