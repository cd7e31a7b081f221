"""Einsum of constants."""

from math import prod

import numpy as np

from radii.graph.call import Call
from radii.graph.errors import Refusal, hold
from radii.graph.folding.registry import MANY, REMEDY, Array, check_size, folds, given


@folds("Einsum", inputs=MANY, equation="string")
def _einsum(call: Call) -> Array:
    """Floats in double precision until the result is made."""
    operands = [given(call, position) for position in range(len(call.inputs))]
    hold(len({operand.dtype for operand in operands}) == 1, "its operands are of several types, or there are none")
    hold(operands[0].dtype.kind in "fiu", "it sums neither floats nor integers")
    equation = call.get("equation", "").replace(" ", "")
    left, arrow, output = equation.partition("->")
    sizes, front = _sizes(left.split(","), operands)
    if not arrow:
        output = "..." * ("..." in left) + "".join(sorted(name for name in sizes if left.count(name) == 1))
    letters = output.replace("...", "", 1)
    hold(set(letters) <= set(sizes) and len(set(letters)) == len(letters), "its output has letters that no operand has")
    made = [sizes[letter] for letter in letters] + list(front if "..." in output else ())
    check_size(call, made)
    call.limits.check_work(prod(sizes.values()) * prod(front))
    wide = np.float64 if operands[0].dtype.kind == "f" else operands[0].dtype
    return np.asarray(np.einsum(f"{left}->{output}", *operands, dtype=wide)).astype(operands[0].dtype)


def _sizes(terms: list[str], operands: list[Array]) -> tuple[dict[str, int], tuple[int, ...]]:
    """The size of each letter, and the shape that an ellipsis stands for."""
    hold(len(terms) == len(operands), "it has not one term for each operand")
    sizes: dict[str, int] = {}
    fronts: list[tuple[int, ...]] = []
    for term, operand in zip(terms, operands, strict=True):
        before, dots, after = term.partition("...")
        letters = before + after
        hold(letters.isalpha() or not letters, "its equation holds other than letters and one ellipsis a term")
        open_axes = operand.ndim - len(letters)
        hold(open_axes == 0 or (bool(dots) and open_axes > 0), "the letters do not fit the axes")
        shape = list(operand.shape)
        fronts.append(tuple(shape[len(before) : len(before) + open_axes]))
        del shape[len(before) : len(before) + open_axes]
        for letter, size in zip(letters, shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise Refusal(f"the axis {letter} has two sizes", REMEDY)
    return sizes, np.broadcast_shapes(*fronts)
