"""A layer of constants alone: what the operator makes of them, run once at import.

The first input stands for the activation, its first axis for the batch, so whatever an operator can do to activations
it can do to constants.
"""

import numpy as np
import torch

from radii.graph.call import Activation, Call
from radii.graph.errors import Refusal
from radii.graph.folding.registry import Array, check_size, given
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
    shape = (len(x), *operator.shape(stand_in.shape))
    check_size(call, shape)
    call.limits.check_work(len(x) * operator.multiply_adds(stand_in.shape))
    arrays = {
        name: torch.from_numpy(np.array(array, x.dtype if array.dtype.kind == "f" else array.dtype))
        for name, array in operator.arrays().items()
    }
    with torch.no_grad():
        made = operator.run([torch.from_numpy(np.array(x))], arrays).numpy()
    return np.array(made).reshape(shape if first.ndim else ())
