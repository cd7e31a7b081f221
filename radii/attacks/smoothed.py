"""Attacks on the smoothed classifier g, against radii that hold with probability 1 - alpha.

Projected gradient descent through the expectation over the noise (Athalye et al., ICML 2018; Salman et al., NeurIPS
2019), then g's own votes, on fresh noise, at what it led to. Formulas: docs/numerics.md 9.2.
"""

import hashlib
import math
from dataclasses import dataclass
from functools import reduce
from itertools import count
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from radii.attacks.ball import distance, projected, steepest
from radii.attacks.network import INSIDE, Classifier, margin_gradient, rival_logits
from radii.attacks.result import Attack, NotAttackable
from radii.norms import Norm
from radii.smoothing.keys import Stage, chunk_seed, chunk_size, chunks
from radii.smoothing.noise import Grid, Noise, noise_of, rounded
from radii.smoothing.sampling import count_chunk, logits_chunk
from radii.smoothing.scores import Moments, bernstein_interval
from radii.smoothing.serving import prediction_test
from radii.smoothing.simplex import Scoring

LEVEL = 1e-9
"""How likely it is, at most, that g is said to answer otherwise where it does not."""
PROOF = 10_000
"""Votes from which that is said."""
VOTES = Scoring("hardmax")
SURE = 2.5  # normal deviates: from here on 1,000 votes tell a side, and no distance
CLOSE = 0.1  # so near to a turn 1,000 votes tell no slope
FARTHEST = 32  # radii away, no turn is looked for any more
LOOKS = 20  # for it, at most
WIDER = (1, 4, 16)  # times the noise: where a way out is looked for, should there be none nearer


@dataclass(frozen=True, slots=True)
class SmoothedAttack:
    """How much is spent on an input: ``steps * samples`` gradients, then a few times ``votes`` votes."""

    steps: int = 10
    samples: int = 32
    votes: int = 1000
    batch_size: int = 100

    def __call__(
        self,
        classifier: Classifier,
        x: Tensor,
        *,
        noise: Noise,
        num_classes: int,
        prediction: int,
        radius: float,
        norm: Norm = "l2",
        key: bytes,
        scoring: Scoring = VOTES,
        logits: Classifier | None = None,
    ) -> Attack:
        """Whether g answers otherwise than ``prediction`` strictly inside ``radius``, and about where it does at all.

        ``Attack.distance`` is where half the votes have turned along the one direction that was found: an estimate,
        from ``votes`` votes a look, of an upper bound of g's own distance. ``contradicted`` rests on ``PROOF`` votes
        that nothing was chosen by, at ``LEVEL``: on the exact binomial test of ``prediction_test``, or, of mean scores,
        on a Bernstein bound of how far another class leads.

        Args:
            classifier, x, noise, num_classes: as of :func:`radii.smoothing.count_chunk`. Noise on a grid becomes what
                it stands for, a rounded law, which has no grid of inputs.
            key: the noise key of the certificate, 32 bytes; the noise here is another one.
            scoring: what g takes the mean of.
            logits: the same classifier before an end, softmax say, that hides its margins: what shows the way. Votes
                are always those of ``classifier``, which shows it by default.

        Raises:
            NotAttackable: at no noisy copy is there a gradient, nor do margins differ between them.
        """
        logits = logits or classifier
        if isinstance(noise, Grid):
            classifier, logits = (rounded(network, noise.low, noise.high) for network in (classifier, logits))
            noise = noise_of(noise.law, noise.sigma, x.device)
        digest = hashlib.sha256(key).digest()
        search = _Search(self, classifier, logits, x, noise, num_classes, prediction, norm, digest, scoring)
        direction = search.descend(radius * INSIDE)
        point = search.at(direction * (radius * INSIDE))
        seen = search.votes(point)
        winner, inside = None, distance(x.cpu().numpy(), point.cpu().numpy(), norm)
        if seen.argmax() != prediction and inside < radius:
            seen, winner = search.proved(point, int(seen.argmax()))
        away, other = search.crossing(direction, radius * INSIDE, seen)
        if winner is None:
            return Attack(away, other, False, None)
        return Attack(inside if away is None else min(away, inside), winner, True, point.cpu().numpy())


class _Search:
    def __init__(
        self,
        budget: SmoothedAttack,
        classifier: Classifier,
        logits: Classifier,
        x: Tensor,
        noise: Noise,
        num_classes: int,
        prediction: int,
        norm: Norm,
        key: bytes,
        scoring: Scoring,
    ) -> None:
        self.budget, self.classifier, self.logits, self.x = budget, classifier, logits, x
        self.noise, self.scoring = noise, scoring
        self.num_classes, self.prediction, self.norm, self.key = num_classes, prediction, norm, key
        self.numbers = count()
        self.differentiable = True

    def descend(self, radius: float) -> Tensor:
        """A change of length ``radius`` at most, by steps that fall: in units of ``radius``, of which float64 holds the
        squares whatever the unit."""
        delta = torch.zeros_like(self.x, dtype=torch.float64)[None]
        momentum = torch.zeros_like(delta)
        for step in range(self.budget.steps):
            gradient = self.way(self.at(delta[0] * radius))[None].double()
            momentum = 0.5 * momentum + steepest(gradient, "l2")
            if not bool(momentum.any()):
                break
            size = 2 * (1 - step / self.budget.steps)
            delta = projected(delta - size * steepest(momentum, self.norm), 1.0, self.norm)
        if not bool(delta.any()):
            raise NotAttackable(self.why_not())
        return delta[0]

    def at(self, change: Tensor) -> Tensor:
        """The input, moved, as the network takes it."""
        return (self.x + change).to(self.x.dtype)

    def way(self, point: Tensor) -> Tensor:
        """The gradient of the expected vote, wherever some can be had: by differentiation, or from differences of
        margins; of a wider noise where that of g shows nothing. Zero where there is none at all."""
        found = torch.zeros_like(point)
        for times in WIDER:
            if self.differentiable:
                found = self.gradient(point, times)
            if not bool(found.any()):
                found = self.differences(point, times)
            if bool(found.any()):
                break
        return found

    def gradient(self, point: Tensor, times: int) -> Tensor:
        """The gradient, but for a factor, of the expected soft vote: a sigmoid of the margin, as wide as it spreads.

        The sigmoid's slope is e^-m far from the boundary, nothing in float32 from m = 17 on. So slopes are taken in
        logarithms, relative to the steepest: then the copies that are nearest to the boundary lead.
        """
        part = max(1, min(self.budget.samples, self.budget.batch_size // 8))  # a gradient keeps every activation
        margins, gradients = [], []
        for _ in range(0, self.budget.samples, part):
            try:
                margin, gradient = margin_gradient(self.logits, self.noisy(point, part, times), self.prediction, None)
            except NotAttackable:
                self.differentiable = False
                return torch.zeros_like(point)
            finite = margin.isfinite() & gradient.flatten(1).isfinite().all(1)
            margins.append(margin[finite].double())
            gradients.append(gradient[finite].double())
        margin, gradient = torch.cat(margins), torch.cat(gradients)
        if not len(margin):
            return torch.zeros_like(point)
        far = (margin / _spread(margin)).abs()
        weight = torch.softmax(-far - 2 * torch.log1p(torch.exp(-far)), 0)  # of log s(m) + log s(-m)
        return _scaled((weight.view(-1, *[1] * point.dim()) * gradient).sum(0)).to(point.dtype)

    def differences(self, point: Tensor, times: int) -> Tensor:
        """The gradient of the expected margin, but for a factor, from margins alone (Stein's lemma): as many as votes
        are spent. Zero where all are equal."""
        weighted, plain = (torch.zeros(point.shape, dtype=torch.float64, device=point.device) for _ in range(2))
        known: list[Tensor] = []
        for _ in range(0, self.budget.votes, self.budget.batch_size):
            noisy = self.noisy(point, self.budget.batch_size, times)
            with torch.no_grad():
                z = self.logits(noisy).double()
            margin = z[:, self.prediction] - rival_logits(z, self.prediction, None)
            there = margin.isfinite()
            if not bool(there.any()):
                continue
            known.append(margin[there])
            moved, margin = (noisy - point)[there].double(), margin[there] - known[0][0]  # small numbers, exactly
            weighted += (margin.view(-1, *[1] * point.dim()) * moved).sum(0)
            plain += moved.sum(0)
        margins = torch.cat(known) if known else weighted.new_zeros(1)
        if bool((margins == margins[0]).all()):
            return torch.zeros_like(point)
        return _scaled(weighted - (margins - margins[0]).mean() * plain).to(point.dtype)

    def noisy(self, point: Tensor, size: int, times: int) -> Tensor:
        fill = self.noise.stream(chunk_seed(self.key, "pilot", next(self.numbers)), point)
        noisy = torch.empty((size, *point.shape), dtype=torch.float32, device=point.device)
        fill(noisy)
        return noisy if times == 1 else point + times * (noisy - point)

    def why_not(self) -> str:
        with torch.no_grad():
            z = self.logits(self.noisy(self.x, self.budget.batch_size, 1))
        if not bool(z.isfinite().all(1).any()):
            return "its logits are not finite around the input"
        no_gradient = "its gradient is zero" if self.differentiable else "the network is not differentiable"
        return f"{no_gradient}, and its margin is the same all around the input"

    def votes(self, point: Tensor) -> np.ndarray:
        """Fresh ones, or scores in their place, summed by class; the last entry: non-finite logits."""
        n = self.budget.votes
        parts = [self.chunk(point, chunk_size(n, number), "pilot") for number in range(chunks(n))]
        total: np.ndarray = np.sum(parts, axis=0)
        return total

    def chunk(self, point: Tensor, size: int, stage: Stage) -> np.ndarray:
        if self.scoring == VOTES:
            return count_chunk(self.classifier, point, size=size, stage=stage, number=next(self.numbers), **self.call)
        total: np.ndarray = self.scores(point, size, stage).sum(axis=0)
        return total

    def scores(self, point: Tensor, size: int, stage: Stage) -> np.ndarray:
        call = {"size": size, "stage": stage, "number": next(self.numbers), **self.call}
        return self.scoring.scores(logits_chunk(self.classifier, point, **call))

    @property
    def call(self) -> dict[str, Any]:
        """What all chunks have in common."""
        batch_size = self.budget.batch_size
        return {"num_classes": self.num_classes, "noise": self.noise, "key": self.key, "batch_size": batch_size}

    def proved(self, point: Tensor, rival: int) -> tuple[np.ndarray, int | None]:
        """Fresh votes, and the class that they prove g to answer; None if none, or the prediction."""
        sizes = [chunk_size(PROOF, number) for number in range(chunks(PROOF))]
        tail_mass = self.noise.tail_mass(point.numel())
        if self.scoring == VOTES:
            seen = np.sum([self.chunk(point, size, "estimate") for size in sizes], axis=0)
            winner = prediction_test(seen, alpha=LEVEL, tail_mass=tail_mass).prediction
            return seen, None if winner == self.prediction else winner
        parts, leads = [], []
        for size in sizes:
            scores = self.scores(point, size, "estimate")
            parts.append(scores.sum(axis=0))
            leads.append(Moments.of((1 + scores[:, [rival]] - scores[:, [self.prediction]]) / 2))
        lead = reduce(Moments.merge, leads)
        mean = min(1.0, float(lead.mean[0]))
        ahead = bernstein_interval(mean, float(lead.variance[0]), PROOF, delta=LEVEL)[0] - tail_mass > 0.5
        return np.sum(parts, axis=0), rival if ahead and rival < self.num_classes else None

    def crossing(self, delta: Tensor, at: float, seen: np.ndarray) -> tuple[float | None, int | None]:
        """Where along ``delta``, of length 1 and first looked at ``at`` away, most votes turn, and to which class.

        While votes tell no more than a side, twice as far, then halfway. From where they tell more: for a linear
        classifier the normal deviate of the shares falls linearly, so Newton's method, then secants.
        """
        a_sigma = self.noise.sigma / float(delta.norm())
        slope, place, low, high = -1 / a_sigma, at, 0.0, math.inf
        lead, other = self.lead(seen)
        left = 3
        for _ in range(LOOKS):
            low, high = (place, high) if lead > 0 else (low, place)
            if abs(lead) < SURE:
                if left == 0 or abs(lead) < CLOSE:
                    break
                left, further = left - 1, max(0.0, place - lead / slope)
            elif high < math.inf:
                further = (low + high) / 2
            elif place < FARTHEST * at:
                further = 2 * place
            else:
                break
            before, (lead, other) = (place, lead), self.lead(self.votes(self.at(delta * further)))
            if further != place and abs(before[1]) < SURE > abs(lead) and lead != before[1]:
                slope = min(slope / 10, (lead - before[1]) / (further - place))
            place = further
        if abs(lead) > 0.5 * abs(slope) * a_sigma:
            return None, None  # half a sigma and more to a turn: the direction leads to none
        return max(0.0, place - lead / slope), other

    def lead(self, seen: np.ndarray) -> tuple[float, int]:
        """How far the prediction's share leads the next class's, in normal deviates; and which class that is."""
        others = seen.copy()
        others[self.prediction] = -1
        other, n = int(others[: self.num_classes].argmax()), int(seen.sum())
        first, second = ((seen[c] + 0.5) / (n + 1) for c in (self.prediction, other))
        return float(ndtri(first) - ndtri(second)) / 2, other


def _spread(margins: Tensor) -> Tensor:
    """Their standard deviation, no less than what rounding makes of equal ones."""
    least = max(1e-12 * float(margins.abs().max()), 1e-300)
    return margins.std(correction=0).clamp_min(least)


def _scaled(gradient: Tensor) -> Tensor:
    """Its direction, in numbers that float32 holds."""
    largest = gradient.abs().max()
    return gradient / largest if float(largest) > 0 else gradient
