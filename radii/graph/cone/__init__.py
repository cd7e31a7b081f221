"""Univariate cones: several nodes that are one scalar function, and the largest slope of any such function, proved."""

from radii.graph.cone.find import Cone, pruned, with_cones

__all__ = ["Cone", "pruned", "with_cones"]
