"""Nodes whose value is known at import: constants, and shape arithmetic with the batch size left open.

Everything here is computed once, on small or already admitted arrays; whatever could grow asks the limits first.
"""

import numpy as np

from radii.graph.affine import FIXED_SIZES, settle
from radii.graph.call import Call
from radii.graph.errors import Refusal
from radii.graph.folding import arithmetic, indices, layout, quantised, sources, sums
from radii.graph.folding.registry import FOLDS, Array

__all__ = ["FOLDS", "arithmetic", "fold", "indices", "layout", "quantised", "sources", "sums"]

SYMBOLIC_ELEMENTS = 4096  # a list of sizes is short; an array of Python objects need not be long


def fold(call: Call) -> Array:
    """The value of a node, all of whose inputs are known (or whose inputs' shapes suffice)."""
    with np.errstate(all="ignore"):  # what is not finite is refused where it is used
        result = np.asarray(FOLDS[call.operator].evaluate(call))
    if result.dtype == object and result.size > SYMBOLIC_ELEMENTS:
        raise Refusal("too many sizes that depend on the batch size", FIXED_SIZES)
    result = settle(result)
    result.flags.writeable = False
    return result
