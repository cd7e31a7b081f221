"""How much arithmetic the rules that look at several layers at once may take, and who hears how they get on.

It is counted ahead, from shapes alone, and not timed: the same file with the same budget gives the same bound on a slow
machine as on a quick one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from radii.bounds import DEFAULT_BUDGET
from radii.lipschitz.network.linear import NotApplicable

UNIT_OF_WORK = 2**30  # multiply-adds, a billion or so: what a budget counts in

Progress = Callable[[str], None]
"""Told what is done from now on, in words that follow "bounding"."""


def silent(doing: str) -> None:
    """Nobody asked."""


@dataclass(slots=True)
class Effort:
    """What the rules may take on one network.

    Args:
        budget: in units of ``UNIT_OF_WORK``.
        tell: hears of every rule before it is tried.
    """

    budget: int = DEFAULT_BUDGET
    tell: Progress = silent
    spent: int = 0  # multiply-adds

    def share(self, part: int) -> int:
        """One ``part``-th of the whole budget, in multiply-adds."""
        return self.budget * UNIT_OF_WORK // part

    def take(self, work: int, most: int) -> None:
        """Spends ``work`` multiply-adds. Raises `NotApplicable` where they exceed ``most``, or what is left."""
        left = self.budget * UNIT_OF_WORK - self.spent
        if work > min(most, left):
            factor = max(work / most, (self.spent + work) / (self.budget * UNIT_OF_WORK))
            needed = math.ceil(self.budget * factor)
            raise NotApplicable(
                f"it takes {work / 1e9:,.0f} billion multiply-adds; a budget of about {needed:,} allows them, "
                f"this one was {self.budget:,}"
            )
        self.spent += work
