"""A file read at a batch of its own: at 1 what it makes of one sample, at 2 to test that samples keep apart.

There the file's batch is an axis of our sample like any other (`Activation.batch_in_shape`), behind a batch that is
ours. So sizes are plain integers, wherever the file moves its batch, and samples can't mix. An operator is read in one
of these views of its inputs; between views values stay where they are in memory, so they cost a reshape at most:

- the same function at every entry: as they lie there;
- a first axis of size 1, and the operator leaves it alone: it is taken for our batch, as in any other file;
- (n, channels, ...): as n * channels channels, in n times as many groups;
- anything else: with our batch in front, and its axes counted from there.
"""

from collections.abc import Callable, Iterator

from radii.graph.call import Activation, Call
from radii.graph.ops import OPERATORS
from radii.graph.spelled import SPELLINGS
from radii.graph.views import Shape, View, most_axes, seen_as


def relabelled(call: Call) -> Shape | None:
    """The file's shape for what lies in memory as the input does: of a Reshape, say. None: of anything else."""
    return OPERATORS[call.operator].relabelled(call) if call.operator in OPERATORS else None


def views(call: Call, lying: Callable[[Activation], Shape]) -> Iterator[View]:
    """The ways to read an operator, the leanest first; ``lying`` is the shape that a value has in our graph."""
    inputs = call.activations()
    known = OPERATORS.get(call.operator) or SPELLINGS.get(call.operator)
    entrywise = known is None or known.entrywise  # what is none of ours is refused in any view
    if entrywise and len(inputs) == 1 and most_axes(call) == len(inputs[0].shape):
        yield seen_as(call, [lying(inputs[0])], lambda _: inputs[0].shape)
    if all(x.shape[:1] == (1,) for x in inputs):
        yield seen_as(call, [x.shape[1:] for x in inputs], lambda made: (1, *made))
    view = None if known is None or known.viewed is None else known.viewed(call)
    if view is not None:
        yield view
