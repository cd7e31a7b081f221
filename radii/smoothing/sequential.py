"""Deciding one radius with as few samples as its answer needs. SciPy alone, no torch."""

import math
from bisect import bisect_left
from typing import Literal

from scipy.special import betainc, betaincc, betaln

from radii.norms import Law
from radii.smoothing import laws
from radii.smoothing.radius import check_count, check_settings

Decision = Literal["certified", "not certified", "undecided"]

EARLY = 0.2
"""The part of alpha that stopping early may use; the rest is the last bound's, which then loses next to nothing."""

GIVE_UP = 0.001
"""Below this chance of a certificate at ``n_max`` the test ends undecided. Costs inputs, never soundness."""

# log M adds terms as large as n log p0. Against 40 digits its error stayed below 3e-15 n (n to 1e9): ten times that.
_SLACK, _SLACK_PER_SAMPLE = 1e-9, 3e-14


class SequentialTest:
    """Whether a class's probability under the noise exceeds ``p0 = Phi(target_radius / sigma)``, looked at any time.

    (Of other laws than the Gaussian: the probability that :func:`radii.smoothing.laws.most_misses` leaves.)

    The likelihood ratio against p0, mixed uniformly over [p0, 1], is a supermartingale wherever p <= p0, so it ever
    reaches ``1/(EARLY alpha)`` with probability ``EARLY alpha`` at most (Ville 1939; Darling & Robbins 1967). The rest
    of alpha is for one Clopper-Pearson bound when ``n_max`` samples are taken. The mirrored ratio over [0, p0] says
    "not certified": where p >= p0 it does so with probability ``beta`` at most. And when so many samples missed that
    ``n_max`` will hardly certify, the test is over, undecided.

    The class must be chosen without the samples given here.

    Attributes:
        decision: "undecided" until it is something else, which then never changes.
        over: whether more samples are of no use.
        most_misses: with more misses than these among ``n_max`` samples nothing is certified; -1: never.
    """

    def __init__(
        self,
        target_radius: float,
        *,
        sigma: float,
        alpha: float,
        beta: float = 0.001,
        n_max: int = 100_000,
        tail_mass: float = 0.0,
        law: Law = "gaussian",
    ) -> None:
        """``target_radius``: in the units of ``sigma``, the norm of the law. Raises ValueError, naming the argument."""
        check_settings(n_max, alpha, sigma, tail_mass)
        if not (target_radius > 0 and math.isfinite(target_radius)):
            raise ValueError(f"target_radius: must be positive and finite, not {target_radius}")
        if not 0 < beta < 1:
            raise ValueError(f"beta: must lie strictly between 0 and 1, not {beta}")
        self.alpha, self.beta, self.n_max = alpha, beta, n_max
        # 1 - p0, rounded down: from a larger p0 on the claim is the stronger one
        self._q0 = laws.most_misses(law, target_radius, sigma) - tail_mass
        self.successes = self.n = 0
        self.decision: Decision = "undecided"

        late = (1 - EARLY) * alpha

        def certifies(misses: int) -> bool:
            radius = laws.radius(law, n_max - misses, n_max, alpha=late, sigma=sigma, tail_mass=tail_mass)
            return radius is not None and radius >= target_radius

        self.most_misses = bisect_left(range(n_max + 1), True, key=lambda misses: not certifies(misses)) - 1

    @property
    def over(self) -> bool:
        return self.decision != "undecided" or self.n == self.n_max or self.chance() < GIVE_UP

    def chance(self) -> float:
        """About how likely the last bound certifies, seen from here: decides nothing but when to stop.

        Misses to come given those seen, a Poisson count whose rate has the Gamma posterior of a uniform prior; 0 where
        too many missed already. Its spread is a little too wide where misses are many: that stops later.
        """
        misses, left = self.n - self.successes, self.n_max - self.n
        spare = self.most_misses - misses
        if spare < 0 or left == 0:
            return float(spare >= 0)
        return float(betainc(misses + 1, spare + 1, self.n / self.n_max)) if self.n else 1.0

    def update(self, successes: int, n: int) -> Decision:
        """Takes ``n`` more samples, ``successes`` of them for the class; the decision so far.

        Raises ValueError when the test is over, or for more samples than ``n_max`` leaves.
        """
        check_count("n", n, self.n_max - self.n)
        check_count("successes", successes, n)
        if self.over:
            raise ValueError("the test is over: take no more samples")
        self.successes += successes
        self.n += n
        last = self.n == self.n_max and self.n - self.successes <= self.most_misses
        if last or self.log_evidence() >= -math.log(EARLY * self.alpha):
            self.decision = "certified"
        elif self.log_futility() >= -math.log(self.beta):
            self.decision = "not certified"
        return self.decision

    def log_evidence(self) -> float:
        """Logarithm of the mixture martingale for p > p0, rounded down."""
        if self._q0 <= 0:  # the target lies in the tail that the noise source does not draw
            return -math.inf
        misses = self.n - self.successes
        above = float(betainc(misses + 1, self.successes + 1, self._q0))  # of Beta(successes + 1, misses + 1) above p0
        return self._log_ratio(above, self._q0) - self._slack

    def log_futility(self) -> float:
        """Logarithm of the mixture martingale for p < p0."""
        if self._q0 <= 0:
            return math.inf
        misses = self.n - self.successes
        below = float(betaincc(misses + 1, self.successes + 1, self._q0))
        return self._log_ratio(below, 1 - self._q0) - self._slack

    def _log_ratio(self, part: float, width: float) -> float:
        """``log(int p^k (1-p)^(n-k) dp / (width p0^k (1-p0)^(n-k)))`` over the part of [0, 1] that has this width."""
        if part <= 0:
            return -math.inf
        hits, misses = self.successes, self.n - self.successes
        mixed = float(betaln(hits + 1, misses + 1)) + math.log(part) - math.log(width)
        return mixed - hits * math.log1p(-self._q0) - misses * math.log(self._q0)

    @property
    def _slack(self) -> float:
        return _SLACK + _SLACK_PER_SAMPLE * self.n
