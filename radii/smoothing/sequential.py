"""Deciding one radius with as few samples as its answer needs. NumPy and SciPy alone, no torch.
Formulas: docs/numerics.md 4.4.
"""

import math

from radii.laws import LAWS
from radii.smoothing.betting import bets_against, bets_for, bets_on_misses
from radii.smoothing.prediction import Counts, Decision, checked_counts, sides_of, winner
from radii.smoothing.radius import check_settings, radius_two_sided, radius_under

EARLY = 0.2
"""The part of alpha that stopping early may use; the rest is the last bound's, which then loses next to nothing."""

GIVE_UP = 3.1
"""Standard deviations, which one in a thousand exceeds: the test ends undecided where ``n_max`` samples would decide
for neither side, though those to come favoured it by so many. Costs decisions, never soundness."""

TEST = "bets on both sides"
"""The name of the test, by which its decisions are kept: another one's answers are not its own. A change of it that may
change a decision takes a new name."""


class SequentialTest:
    """Whether a radius is at least ``target_radius``, looked at any time.

    It is Cohen's radius of the class that the pilot chose, ``sigma/2 (Phi^-1(a) - Phi^-1(b))``: a is the class's
    probability under the noise, b the largest one of any other. (Under noise of other laws it follows from a
    alone.) Over the noise, the decision means:

    - "certified": the radius is at least the target. Said with probability ``alpha`` at most where it is less.
    - "not certified": the radius is less. Said with probability ``beta`` at most where it is not. It does not follow
      that g changes its class within the target, as the radius is a lower bound of how far g keeps it.
    - "undecided": neither can be said, as of a radius within some per cent of the target.

    The bets of :mod:`radii.smoothing.betting` certify at any look, at ``EARLY alpha``. What is left of alpha is for the
    bound of mode radius when ``n_max`` samples are taken, with one side or two as the pilot says. All of beta is for
    the bets on the other side.

    Which other class has the probability b is not known. A certificate needs evidence against all of them, and the one
    of most votes so far leaves the least, at any look: less than the true runner-up, whose bets are fair. Against a
    radius evidence by one class is enough, so each has a part of beta, by its votes in the pilot.

    Attributes:
        decision: "undecided" until it is something else, which then never changes.
        n: samples taken.
        counts: their votes by class.
    """

    def __init__(
        self,
        target_radius: float,
        pilot_counts: Counts,
        *,
        sigma: float,
        alpha: float,
        beta: float = 0.001,
        n_max: int = 100_000,
        tail_mass: float = 0.0,
        law: str = "gaussian",
    ) -> None:
        """``target_radius``: in the units of ``sigma``, the norm of the law. ``pilot_counts``: votes of samples that
        are not given here, by class; the last entry counts non-finite logits.

        Raises ValueError, naming the argument.
        """
        check_settings(n_max, alpha, sigma, tail_mass)
        check_target(target_radius)
        if not 0 < beta < 1:
            raise ValueError(f"beta: must lie strictly between 0 and 1, not {beta}")
        self.target_radius, self.alpha, self.beta, self.n_max = target_radius, alpha, beta, n_max
        pilot = checked_counts("pilot_counts", pilot_counts)
        self.top, known = winner(pilot)
        self.n = 0
        self.counts = [0] * len(pilot)
        self.decision: Decision = "undecided"
        self._last = {"alpha": (1 - EARLY) * alpha, "sigma": sigma, "tail_mass": tail_mass}
        self._law = LAWS[law]
        self._sides = sides_of(pilot, self.top, n_max, law=law, **self._last)
        most = radius_under(LAWS[law], n_max, n_max, **self._last)
        self._hopeless = not known or most is None or most < target_radius  # not even votes that all agree would do
        if self._hopeless:
            return
        if self._law.two_sided:
            c = 2 * target_radius / sigma
            self._for, self._against = bets_for(c, n_max, tail_mass), bets_against(c, n_max, tail_mass)
        else:
            q = self._law.most_misses(target_radius, self._law.stretch(sigma))
            self._for, self._against = bets_on_misses(q, n_max, tail_mass)
        others = sum(pilot) - pilot[self.top]
        self._reasons = [(votes / others if others else 0.0) / 2 + 0.5 / (len(pilot) - 1) for votes in pilot]

    @property
    def over(self) -> bool:
        """Whether more samples are of no use."""
        return self._hopeless or self.decision != "undecided" or self.n == self.n_max

    def update(self, counts: Counts) -> Decision:
        """Takes the votes of more samples, by class; the decision so far.

        Raises ValueError when the test is over, or for more samples than ``n_max`` leaves.
        """
        if self.over:
            raise ValueError("the test is over: take no more samples")
        new = checked_counts("counts", counts)
        if len(new) != len(self.counts):
            raise ValueError(f"counts: {len(new)} entries, but pilot_counts has {len(self.counts)}")
        if self.n + sum(new) > self.n_max:
            raise ValueError(f"counts: {sum(new)} samples, of which n_max leaves {self.n_max - self.n}")
        self.n += sum(new)
        self.counts = [before + more for before, more in zip(self.counts, new, strict=True)]
        early = self.log_evidence() >= -math.log(EARLY * self.alpha)
        if early or (self.n == self.n_max and self._bound_certifies(self.counts[self.top], self._rival()[0])):
            self.decision = "certified"
        elif self.log_futility() >= -math.log(self.beta):
            self.decision = "not certified"
        elif 4 * self.n >= self.n_max:  # before, one of the two is in reach
            self._hopeless = not (self._may_end("certified") or self._may_end("not certified"))
        return self.decision

    def log_evidence(self) -> float:
        """Logarithm of the wealth of bets that win where the radius is at least the target, rounded down."""
        return self._for.log_wealth(self.counts[self.top], self._rival()[0], self.n)

    def log_futility(self) -> float:
        """Logarithm of the wealth of bets that win where it is less, rounded down."""
        rival, part = self._rival()
        return math.log(part) + self._against.log_wealth(self.counts[self.top], rival, self.n)

    def _rival(self) -> tuple[int, float]:
        """The most votes of another class, and its part of beta; of one side, all others' and all of it."""
        if not self._law.two_sided:
            return self.n - self.counts[self.top], 1.0
        others = (j for j in range(len(self.counts)) if j != self.top)
        return max((self.counts[j], self._reasons[j]) for j in others)

    def _bound_certifies(self, top: int, rival: int) -> bool:
        """Whether the bound of mode radius does, of so many votes for the class and for another among n_max."""
        if self._sides == "two-sided":
            radius = radius_two_sided(top, rival, self.n_max, **self._last)
        else:
            radius = radius_under(self._law, top, self.n_max, **self._last)
        return radius is not None and radius >= self.target_radius

    def _may_end(self, decision: Decision) -> bool:
        """Whether n_max samples decide so, if those to come favour it by GIVE_UP deviations: an estimate."""
        sign = 1 if decision == "certified" else -1
        rival, part = self._rival()
        top = self._at_the_end(self.counts[self.top], sign)
        rival = min(self._at_the_end(rival, -sign), self.n_max - top)
        if decision == "certified":
            return self._bound_certifies(top, rival)
        return math.log(part) + self._against.log_wealth(top, rival, self.n_max) >= -math.log(self.beta)

    def _at_the_end(self, count: int, sign: int) -> int:
        """A class's votes among n_max, so many deviations from those to be expected."""
        share, left = (count + 1) / (self.n + 2), self.n_max - self.n
        spread = math.sqrt(share * (1 - share) * self.n_max * left / self.n)  # of what is to come, and of the share
        return min(max(round(self.n_max * share + sign * GIVE_UP * spread), count), count + left)


def check_target(target_radius: float) -> None:
    """Raises ValueError unless it is a radius that could be asked about."""
    if not (target_radius > 0 and math.isfinite(target_radius)):
        raise ValueError(f"target_radius: must be positive and finite, not {target_radius}")
