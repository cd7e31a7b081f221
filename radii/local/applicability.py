"""Whether local bounds apply to a network: told of its nodes, without computing anything or copying a weight."""

from __future__ import annotations

from dataclasses import asdict

from radii.graph import Graph, Task
from radii.graph.applicability import NO_CLASSES, NOT_ALONE, Json, against, unless
from radii.local.network import Network, NotRelaxable


def verdict(graph: Graph, task: Task = "classifier") -> Json:
    """Whether the method `local` applies to a network of this task, and each node, or else, that stands against it, as
    :func:`radii.graph.methods` says it of others."""
    if task == "denoiser":
        return against("local", *NOT_ALONE)
    if task == "regressor":
        return against("local", *NO_CLASSES)
    try:
        Network.of(graph, "meta")
    except NotRelaxable as error:
        return unless("local", [asdict(obstacle) for obstacle in error.obstacles])
    return unless("local", [])
