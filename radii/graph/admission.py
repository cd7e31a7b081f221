"""What stands in a graph, whoever made it: from ONNX, from the canonical form, or of a named architecture.

Each operator says in `Operator.check` what it must be; here is what holds for all of them, and for the whole.
"""

from collections.abc import Sequence
from math import isfinite, prod

import numpy as np

from radii.graph.composition import Task
from radii.graph.errors import Obstacle, Refusal, UnsupportedModel, hold
from radii.graph.ir import Graph
from radii.graph.limits import Limits
from radii.graph.operator import Operator, Shape

# What fields and shapes that contradict each other make numpy or Python raise. Nothing of this has side effects, so
# all of them mean the same: this operator can't be taken.
MALFORMED = (ArithmeticError, LookupError, TypeError, ValueError, MemoryError)
NOT_FINITE = ("a weight is infinite or not a number", "Train the model again, or repair that weight")
OVERFLOWS = ("a weight overflows when it is multiplied out", "Train the model again")
MOST_AXES = 16
TYPES = (np.float32, np.float64, np.int64, np.bool_)  # of constants


def malformed(error: Exception) -> Refusal:
    """What one of ``MALFORMED`` says of an operator."""
    if isinstance(error, MemoryError):
        return Refusal("it takes more memory than this process may use", "Give it more, or use a smaller model")
    words = f"its inputs and attributes contradict each other ({type(error).__name__})"
    return Refusal(words, "Export the model again")


def admit(operator: Operator, inputs: Sequence[Shape], limits: Limits) -> Shape:
    """The shape a sample that ``operator`` makes of ``inputs``. Raises `Refusal` for anything it must not be."""
    fewest, most = operator.activations
    hold(fewest <= len(inputs) <= most, f"it reads {len(inputs)} activations")
    for name, array in operator.arrays().items():
        fits = array.dtype.kind in operator.array_kinds.get(name, "f") and array.dtype in TYPES
        hold(fits and array.size >= 1, f"its constant {name} is of the wrong type, or empty")
    if not operator.finite_where_used and not finite(operator):
        raise Refusal(*NOT_FINITE)
    try:
        with np.errstate(all="ignore"):
            operator.check(*inputs)
            shape = operator.shape(*inputs)
            entries = prod(shape) + operator.scratch(*inputs)
    except MALFORMED as error:
        raise malformed(error) from None
    if entries > limits.activation_elements:
        raise Refusal(
            f"it makes {entries} entries a sample, over the limit of {limits.activation_elements}",
            "Use a smaller input or a smaller model",
        )
    hold(min(shape, default=1) >= 1 and len(shape) <= MOST_AXES, "it makes an empty tensor, or one of too many axes")
    return shape


def admitted(graph: Graph, limits: Limits, task: Task = "classifier") -> Graph:
    """``graph``, if it does that task within the limits. Raises `UnsupportedModel`."""
    obstacles = [
        Obstacle(node.index, node.operator.name, *(NOT_FINITE if node.operator.finite_where_used else OVERFLOWS))
        for node in graph.nodes
        if not finite(node.operator)
    ]
    output = graph.shapes[graph.output]
    if task == "denoiser" and output != graph.input_shape:
        words = f"the output has the shape (batch, {', '.join(map(str, output))})"
        remedy = f"A denoiser's output has the input's: (batch, {', '.join(map(str, graph.input_shape))})"
        obstacles.append(Obstacle(None, "", words, remedy))
    if task == "classifier" and (len(output) != 1 or output[0] < 2):
        words = f"the output has the shape (batch, {', '.join(map(str, output))})"
        remedy = "It must be logits of shape (batch, classes), two classes or more"
        obstacles.append(Obstacle(None, "", words, remedy))
    if task == "regressor" and len(output) != 1:
        words = f"the output has the shape (batch, {', '.join(map(str, output))})"
        obstacles.append(Obstacle(None, "", words, "It must be of shape (batch, outputs): flatten it"))
    peak = graph.peak_elements()
    if peak > limits.activation_elements:
        words = f"one sample needs {peak} activation entries at once, over the limit of {limits.activation_elements}"
        obstacles.append(Obstacle(None, "", words, "Use a smaller input or a smaller model"))
    if obstacles:
        raise UnsupportedModel(obstacles)
    return graph


def finite(operator: Operator) -> bool:
    """Whether all of an operator's numbers are."""
    numbers = (value for value in operator.settings().values() if isinstance(value, float))
    arrays = (array for array in operator.arrays().values() if array.dtype.kind == "f" and array.size)
    extremes = (float(extreme) for array in arrays for extreme in (np.min(array), np.max(array)))  # NaN, if it has one
    return all(map(isfinite, (*numbers, *extremes)))
