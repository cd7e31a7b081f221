"""How a node's rule turns bounds of its inputs into a bound of its output. Formulas: docs/numerics.md 3.1."""

import math
from collections.abc import Sequence

from radii.graph.rules import Concat, Rule, Sum
from radii.lipschitz.rounding import Upper, hypot_up, product_up, sum_up, up

SQRT2 = up(math.sqrt(2))


def compose(rule: Rule, norm: Upper, inputs: Sequence[Upper]) -> Upper:
    """The constant of a node's output from those of its inputs, all with respect to the network's input.

    Args:
        norm: the node's own constant, where it has one input.
    """
    match rule:
        case Sum():
            terms = [product_up((abs(c), bound)) for c, bound in zip(rule.coefficients, inputs, strict=True)]
            return terms[0] if len(terms) == 1 else sum_up(terms)
        case Concat():
            return hypot_up(inputs)
        case _:
            return product_up((norm, *inputs))
