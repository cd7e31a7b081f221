"""A layer of constants alone: what the operator makes of them, run once at import.

The first input stands for the activation, its first axis for the batch, so whatever an operator can do to activations
it can do to constants.
"""

import numpy as np
import torch

from radii.graph.admission import admit
from radii.graph.call import Activation, Call
from radii.graph.errors import Refusal
from radii.graph.folding.registry import Array, check_size, folds, given
from radii.graph.ops import OPERATORS


def evaluated(call: Call) -> Array:
    """The value of a node whose operator is known on activations, all its inputs being constants."""
    first = given(call, 0)
    if first.dtype.kind != "f" or not first.size:
        raise Refusal("on constants it is supported for floats only", "Export the model in float32")
    x = first.reshape(first.shape or 1)
    stand_in = Activation("constant", x.shape[1:])
    call = Call(
        call.operator,
        call.opset,
        call.attributes,
        (stand_in, *call.inputs[1:]),
        call.outputs,
        call.output,
        call.limits,
        fixed_batch=len(x) == 1,
    )
    operator = OPERATORS[call.operator].read(call)
    shape = (len(x), *admit(operator, [stand_in.shape], call.limits))
    check_size(call, shape)
    call.limits.check_work(len(x) * operator.multiply_adds(stand_in.shape))
    arrays = {
        name: torch.from_numpy(np.array(array, x.dtype if array.dtype.kind == "f" else array.dtype))
        for name, array in operator.arrays().items()
    }
    with torch.no_grad():
        made = operator.run([torch.from_numpy(np.array(x))], arrays).numpy()
    return np.array(made).reshape(shape if first.ndim else ())


@folds("BatchNormalization", inputs=5, training_mode="int")
def _batch_normalization(call: Call) -> Array:
    """Of an activation in training mode it mixes samples; of a kernel that is how one is standardised."""
    value, scale, offset = (given(call, position) for position in range(3))
    if not call.get("training_mode", 0):
        return evaluated(call)
    if value.ndim < 2 or not value.size or not scale.shape == offset.shape == value.shape[1:2]:
        raise Refusal("it has not one entry a channel", "Export the model again")
    axes, column = (0, *range(2, value.ndim)), (-1, *[1] * (value.ndim - 2))
    wide = value.astype(np.float64)
    centred = wide - wide.mean(axis=axes, keepdims=True)
    variance = np.mean(np.square(centred), axis=axes, keepdims=True)
    standard = centred / np.sqrt(variance + call.get("epsilon", 1e-5))
    return np.asarray(standard * scale.reshape(column) + offset.reshape(column)).astype(value.dtype)
