"""Truth values on cells: what holds on all of a cell, on none of it, or changes over in it."""

from dataclasses import dataclass

import numpy as np

from radii.graph.cone.jet import Bools, Jet


@dataclass(frozen=True, slots=True)
class Decision:
    """A condition on each cell: surely true, surely false, or (neither) changing over; ``once``: one time at most."""

    true: Bools
    false: Bools
    once: Bools

    def negated(self) -> "Decision":
        """Its opposite."""
        return Decision(self.false, self.true, self.once)

    def both(self, other: "Decision") -> "Decision":
        """The condition that both hold: it changes over once where one of them does, and the other holds throughout."""
        once = (self.once & other.true) | (self.true & other.once)
        return Decision(self.true & other.true, self.false | other.false, once)

    def between(self, yes: Jet, no: Jet) -> Jet:
        """``yes`` where it holds, else ``no``."""
        made = yes.choose(no, self.true, self.false)
        wild = ~(self.true | self.false | self.once)
        return Jet(made.value, made.slope, made.curvature, made.error, np.where(wild, np.inf, made.jump))


def less(a: Jet, b: Jet) -> Decision:
    """Whether a < b."""
    difference = b - a
    computed = difference.value + difference.error.symmetric()
    steady = (difference.slope.lo > 0) | (difference.slope.hi < 0)
    return Decision(computed.lo > 0, computed.hi < 0, steady & (difference.jump == 0))


def truth(value: Jet | Decision) -> Decision:
    """Whether it is other than 0."""
    if isinstance(value, Decision):
        return value
    computed = value.value + value.error.symmetric()
    away, zero = (computed.lo > 0) | (computed.hi < 0), (computed.lo == 0) & (computed.hi == 0)
    return Decision(away, zero, np.zeros_like(zero))


def either(a: Decision, b: Decision) -> Decision:
    """The condition that one of them holds, or both."""
    return a.negated().both(b.negated()).negated()
