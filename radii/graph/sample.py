"""Which of the axes of a file's input are one sample's, and of what sizes."""

from collections.abc import Sequence
from typing import NamedTuple

from radii.graph.errors import Refusal
from radii.graph.operator import Shape

DECLARE = 'declare it (HTTP: "input": {"shape": [...]}; commands: --shape; Python: input_shape)'


class Sample(NamedTuple):
    """What stands for one sample of the batch."""

    shape: Shape
    batch_is_fixed: bool  # to 1
    is_whole: bool = False  # the file has no batch axis, and its whole input is one sample


def sample_of(sizes: Sequence[int | None], declared: Shape | None) -> Sample:
    """The sample of an input of these sizes (None: open), of the shape that is ``declared`` where it leaves that open.

    An input with as many axes as are declared, the first of a fixed size, has no batch axis. Raises `Refusal`.
    """
    if declared is not None and sizes[:1] != [None] and len(sizes) == len(declared) and _fit(sizes, declared):
        return Sample(declared, batch_is_fixed=True, is_whole=True)
    whole = f"or, if all of the input is one sample, {DECLARE}"
    if len(sizes) < 2:
        also = "" if declared is None else f", and is not of the shape {list(declared)} that was declared"
        raise Refusal(f"the input has no batch axis{also}", f"Export with an input of shape (batch, ...); {whole}")
    batch, *rest = sizes
    if batch not in (None, 1):
        raise Refusal(
            f"the batch is fixed to {batch}",
            "Export with a dynamic batch axis, or with a batch of 1 (torch: dynamic_shapes=({0: 'batch'},), with "
            f"dynamo=False dynamic_axes; jax2onnx: 'B' for its size); {whole}",
        )
    shape = tuple(size for size in rest if size is not None)
    if len(shape) == len(rest):
        return Sample(shape, batch == 1)
    if declared is None:
        words = "the input's shape is open on other axes than the batch"
        raise Refusal(words, f"Export with fixed sizes, the batch aside, or {DECLARE}")
    if len(rest) != len(declared) or not _fit(rest, declared):
        takes = ", ".join("any" if size is None else str(size) for size in rest)
        raise Refusal(
            f"the model takes inputs of shape ({takes}), declared was {list(declared)}", "Declare one that fits"
        )
    return Sample(declared, batch == 1)


def _fit(sizes: Sequence[int | None], declared: Shape) -> bool:
    return all(size in (None, given) for size, given in zip(sizes, declared, strict=True))
