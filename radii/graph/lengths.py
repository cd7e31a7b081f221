"""How a Split divides an axis, of constants and of activations alike."""

from radii.graph.call import Call
from radii.graph.errors import Refusal


def split_lengths(call: Call, size: int) -> tuple[int, ...]:
    """The lengths of a Split's outputs along an axis of ``size``."""
    lengths, count = call.integers(1, "split"), call.get("num_outputs", call.outputs)
    if call.opset >= 18 and (lengths is None) != ("num_outputs" in call.attributes):
        raise Refusal("the lengths of its outputs, or how many they are, must be given, not both", "Give the lengths")
    if lengths is None:
        even = "num_outputs" in call.attributes or not size % max(1, count)
        if not (1 <= count == call.outputs <= size and even):
            raise Refusal(f"it makes {call.outputs} outputs of an axis of size {size}", "Give the lengths")
        length = -(-size // count)
        lengths = (*[length] * (count - 1), size - length * (count - 1))
    if len(lengths) != call.outputs or min(lengths) < 1 or sum(lengths) != size:
        raise Refusal(f"the lengths of its outputs do not make an axis of size {size}", "Export the model again")
    return lengths
