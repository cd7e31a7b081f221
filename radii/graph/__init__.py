"""ONNX bytes to a checked, immutable graph, and from there to a torch module."""

from radii.graph.errors import Obstacle, UnsupportedModel
from radii.graph.ir import Graph, Node, Operator

__all__ = ["Graph", "Node", "Obstacle", "Operator", "UnsupportedModel"]
