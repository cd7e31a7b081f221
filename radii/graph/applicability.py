"""What can be done with a graph: which certification methods apply, and normalising its input.

Of local bounds, which need torch to be asked, :func:`radii.local.verdict` says it.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from math import prod
from typing import Any

import numpy as np

from radii.float32 import LARGEST, LEAST_NORMAL
from radii.graph.composition import Task
from radii.graph.cone.find import with_cones
from radii.graph.ends import undecorated
from radii.graph.ir import Graph, Node
from radii.graph.ops.elementwise import Div, Sub
from radii.graph.rules import Unbounded
from radii.graph.unbounded import obstacles_of

Json = dict[str, Any]

MOST_OUTPUTS = 2**12  # of a regressor: bounds are JSON, a quarter of a megabyte an input

NOT_ALONE = ("a denoiser answers nothing by itself", "Name it as denoiser_model_id, beside the model in model_id")
NO_CLASSES = ("a regressor has no classes", "Ask for its median; of logits, register the file as a classifier")
LARGEST_LOCAL = 2**25  # entries of an activation that local bounds take: the error of their sums has to stay small
NO_LOGITS = ("the median is of a regressor's outputs", "Register the file with task = regressor")


def methods(graph: Graph, task: Task = "classifier") -> list[Json]:
    """Per method whether it applies to a network of this task, and each node, or else, that stands against it, as JSON
    values."""
    if task == "denoiser":
        return [against(kind, *NOT_ALONE) for kind in ("smoothing", "lipschitz", "median")]
    if task == "regressor":
        many = f"its {graph.num_classes} outputs are more than the {MOST_OUTPUTS} that are bounded at once"
        too_many = graph.num_classes > MOST_OUTPUTS
        median = against("median", many, "Export fewer of them") if too_many else unless("median", [])
        return [against("smoothing", *NO_CLASSES), against("lipschitz", *NO_CLASSES), median]
    return [unless("smoothing", []), unless("lipschitz", _unbounded(graph)), against("median", *NO_LOGITS)]


def plainly_local(graph: Graph, task: Task) -> Json | None:
    """The verdict on `local` where the operators alone tell that it applies, as of most networks; None: to be asked of
    :func:`radii.local.verdict`, which needs torch."""
    if task not in ("classifier", "binary"):
        return None
    plain = undecorated(graph)
    for node in plain.nodes:
        operator = node.operator
        if not (operator.is_affine(len(node.inputs)) or operator.hinge() is not None or operator.picks):
            return None
        if prod(plain.shapes[node.output]) > LARGEST_LOCAL:
            return None
        if not all(np.isfinite(array).all() for array in operator.arrays().values()):
            return None
    return unless("local", [])


def unless(kind: str, reasons: list[Json]) -> Json:
    """The verdict that a method applies unless something stands against it."""
    return {"kind": kind, "applies": not reasons, "reasons": reasons}


def against(kind: str, reason: str, remedy: str) -> Json:
    """The verdict that it does not, whatever the nodes are."""
    return unless(kind, [{"node": None, "operator": "", "reason": reason, "remedy": remedy}])


def _unbounded(graph: Graph) -> list[Json]:
    """The nodes without a Lipschitz bound, of those that a bound is taken of."""
    graph = with_cones(undecorated(graph))
    rules = ((node, node.operator.lipschitz(*graph.input_shapes(node))) for node in graph.nodes)
    found = obstacles_of((node, rule) for node, rule in rules if isinstance(rule, Unbounded))
    return [asdict(obstacle) for obstacle in found]


def normalized(graph: Graph, mean: float | Sequence[float], std: float | Sequence[float]) -> Graph:
    """The graph of ``f((x - mean)/std)``; mean and std are numbers, or one a channel.

    Raises `ValueError` where they do not fit the input's channels, or float32 does not hold them, or a std is not
    positive.
    """
    axes = len(graph.input_shape)
    shift, scale = (np.asarray(value, dtype=np.float64) for value in (mean, std))
    for name, value in (("mean", shift), ("std", scale)):
        if value.ndim > 1 or (value.ndim == 1 and value.size not in (1, graph.input_shape[0])):
            raise ValueError(f"{name} is a number, or a list with one entry a channel ({graph.input_shape[0]})")
        if not np.all(np.abs(value) <= LARGEST):
            raise ValueError(f"{name} must be finite, and at most {LARGEST:.2g}: networks run in float32")
    if not np.all(scale >= LEAST_NORMAL):
        raise ValueError(f"std must be positive, and at least {LEAST_NORMAL:.2g}: networks run in float32")
    source, front = graph.input, []
    for step, value, nothing in ((Sub, shift, 0), (Div, scale, 1)):
        if np.any(value != nothing):  # an idle step would cost time on every noisy sample
            made = f"{graph.input}.{step.__name__.lower()}"
            front.append(Node(step(_per_channel(value, axes)), (source,), made, -1))
            source = made
    rest = [
        replace(node, inputs=tuple(source if name == graph.input else name for name in node.inputs))
        for node in graph.nodes
    ]
    output = source if graph.output == graph.input else graph.output
    return Graph.build(graph.input, graph.input_shape, output, [*front, *rest])


def _per_channel(value: np.ndarray, axes: int) -> np.ndarray:
    shaped = value.reshape(-1, *[1] * (axes - 1)) if value.ndim else value
    shaped.flags.writeable = False
    return shaped
