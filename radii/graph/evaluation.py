"""What nodes make of constants alone, computed once at import.

What is known only as a layer runs on them as it would on an activation: the first input stands for one, in a batch of
one, in a view of `radii.graph.fixed_batch`. So whatever an operator can do to activations it can do to constants, along
any axis.
"""

from dataclasses import replace

import numpy as np
import torch

from radii.graph.admission import MALFORMED, admit
from radii.graph.call import Activation, Call
from radii.graph.errors import Refusal, hold
from radii.graph.fixed_batch import views
from radii.graph.folding import FOLDS, fold
from radii.graph.folding.registry import Array, given
from radii.graph.ops import OPERATORS
from radii.graph.views import View


def evaluated(call: Call) -> Array:
    """The value of a node, all of whose inputs are constants; read-only."""
    if call.operator in FOLDS:
        return fold(call)
    with np.errstate(all="ignore"):  # what is not finite is refused where it is used
        made = OPERATORS[call.operator].of_constants(call)
        made = _run(call) if made is None else made
    made.flags.writeable = False
    return made


def _run(call: Call) -> Array:
    x = given(call, 0)
    hold(x.dtype.kind == "f" and x.size > 0, "on constants it is supported for floats only", "Export in float32")
    refused: Exception = Refusal("it works on constants alone", "Export the model again with constant folding on")
    stand_in = Activation("constant", x.shape, batch_in_shape=True)
    call = replace(call, inputs=(stand_in, *call.inputs[1:]))
    for view in views(call, lambda value: value.shape):
        try:
            return _seen(view, x)
        except (Refusal, *MALFORMED) as error:
            refused = error
    raise refused


def _seen(view: View, x: Array) -> Array:
    operator, (shape,) = OPERATORS[view.call.operator].read(view.call), view.shapes
    made = admit(operator, [shape], view.call.limits)
    view.call.limits.check_made(made, x.size)
    view.call.limits.check_work(operator.multiply_adds(shape))
    arrays = {
        name: torch.from_numpy(np.array(array, x.dtype if array.dtype.kind == "f" else array.dtype))
        for name, array in operator.arrays().items()
    }
    with torch.no_grad():
        result = operator.run([torch.from_numpy(np.array(x)).reshape(1, *shape)], arrays)
    return np.array(result.numpy()).reshape(view.file(made))
