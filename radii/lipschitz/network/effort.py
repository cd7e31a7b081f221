"""How much arithmetic the bound of a network may take, and who hears how it gets on.

It is counted ahead, from shapes alone, and not timed: the same file with the same budget gives the same bound on a slow
machine as on a quick one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from radii.bounds import DEFAULT_BUDGET
from radii.lipschitz.network.linear import NotApplicable
from radii.lipschitz.work import TooMuchWork

UNIT_OF_WORK = 2**30  # multiply-adds, a billion or so: what a budget counts in

MOST_NAMED = 5  # nodes in a note
OPTIONAL_SHARE = 64  # one part in so many of the budget: of what only sharpens one norm

Progress = Callable[[str], None]
"""Told what is done from now on, in words that follow "bounding"."""


def billions(work: int) -> str:
    """A number of multiply-adds in words."""
    return f"{work / 1e9:,.0f} billion" if work >= 10**10 else f"{work / 1e9:.2g} billion"


def silent(doing: str) -> None:
    """Nobody asked."""


@dataclass(slots=True)
class Effort:
    """What norms and rules may take on one network.

    Args:
        budget: in units of ``UNIT_OF_WORK``.
        tell: hears of every rule before it is tried.
    """

    budget: int = DEFAULT_BUDGET
    tell: Progress = silent
    spent: int = 0  # multiply-adds
    refused: list[str] = field(default_factory=list)  # whose norms it did not allow
    missing: int = 0  # multiply-adds that they take
    sharper: int = 0  # how many norms more arithmetic would sharpen
    largest: int = 0  # the most that one of them takes

    @property
    def left(self) -> int:
        """Multiply-adds."""
        return self.budget * UNIT_OF_WORK - self.spent

    def spend(self, work: int, more: int = 0, *, optional: bool = False) -> None:
        """Spends multiply-adds as :class:`radii.lipschitz.work.Spend` says; of optional ones only a small share, lest
        the layers behind go short.
        """
        if optional and work > self.share(OPTIONAL_SHARE):
            self.sharper, self.largest = self.sharper + 1, max(self.largest, work)
            raise TooMuchWork(work)
        if work > self.left:
            raise TooMuchWork(work + more)
        self.spent += work

    def refuse(self, name: str, problem: TooMuchWork) -> None:
        """Remembers a node whose norm is not taken."""
        self.refused.append(name)
        self.missing += problem.work

    def notes(self) -> list[str]:
        """Sentences on norms that were left out, or could be sharper."""
        found = []
        if self.refused:
            names = ", ".join(self.refused[:MOST_NAMED])
            more = f" and {len(self.refused) - MOST_NAMED} more" if len(self.refused) > MOST_NAMED else ""
            enough = self.enough(self.missing)
            rest = f"{billions(self.missing)} multiply-adds are left out; a budget of {enough:,} has them"
            found.append(f"norms are bounded from slices of the weight alone in {names}{more}: {rest}")
        if self.sharper:
            enough = -(-self.largest * OPTIONAL_SHARE // UNIT_OF_WORK)
            found.append(
                f"norms of convolutions that could be some percent less with a budget of {enough:,}: {self.sharper}"
            )
        return found

    def enough(self, work: int) -> int:
        """A budget with which this could have been done, too."""
        return max(self.budget + 1, -(-(self.spent + work) // UNIT_OF_WORK))

    def share(self, part: int) -> int:
        """One ``part``-th of the whole budget, in multiply-adds."""
        return self.budget * UNIT_OF_WORK // part

    def take(self, work: int, most: int) -> None:
        """Spends ``work`` multiply-adds. Raises `NotApplicable` where they exceed ``most``, or what is left."""
        if work > min(most, self.left):
            factor = max(work / most, (self.spent + work) / (self.budget * UNIT_OF_WORK))
            needed = math.ceil(self.budget * factor)
            raise NotApplicable(
                f"it takes {billions(work)} multiply-adds; a budget of about {needed:,} allows them, "
                f"this one was {self.budget:,}"
            )
        self.spent += work
