"""Attacks on the smoothed classifier g, against radii that hold with probability 1 - alpha.

Projected gradient descent through the expectation over the noise (Athalye et al., ICML 2018; Salman et al., NeurIPS
2019), then g's own votes, on fresh noise, at what it led to.
"""

import hashlib
from dataclasses import dataclass
from functools import reduce
from itertools import count
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from radii.attacks.ball import distance, projected, steepest
from radii.attacks.network import INSIDE, Classifier, margin_gradient
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
FAR = 4.0  # from here on a normal deviate of 1,000 votes means nothing


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
    ) -> Attack:
        """Whether g answers otherwise than ``prediction`` strictly inside ``radius``, and about where it does at all.

        ``Attack.distance`` is where half the votes have turned along the one direction that was found: an estimate,
        from ``votes`` votes a look, of an upper bound of g's own distance. ``contradicted`` rests on ``PROOF`` votes
        that nothing was chosen by, at ``LEVEL``: on the exact binomial test of ``prediction_test``, or, of mean scores,
        on a Bernstein bound of how far another class leads.

        Args:
            classifier, x, noise, num_classes: as of :func:`radii.smoothing.count_chunk`; the classifier must have
                gradients. Noise on a grid becomes what it stands for, a rounded law, which has no grid of inputs.
            key: the noise key of the certificate, 32 bytes; the noise here is another one.
            scoring: what g takes the mean of.

        Raises:
            NotAttackable: there is no gradient.
        """
        if isinstance(noise, Grid):
            classifier, noise = rounded(classifier, noise.low, noise.high), noise_of(noise.law, noise.sigma, x.device)
        digest = hashlib.sha256(key).digest()
        search = _Search(self, classifier, x, noise, num_classes, prediction, norm, digest, scoring)
        delta = search.descend(radius * INSIDE)
        if not bool(delta.any()):
            raise NotAttackable("its gradient is zero around the input")
        point = x + delta
        seen = search.votes(point)
        winner = None
        if seen.argmax() != prediction and distance(x.cpu().numpy(), point.cpu().numpy(), norm) < radius:
            seen, winner = search.proved(point, int(seen.argmax()))
        away, other = search.crossing(delta, radius * INSIDE, seen)
        if winner is None:
            return Attack(away, other, False, None)
        return Attack(away, winner, True, point.cpu().numpy())


class _Search:
    def __init__(
        self,
        budget: SmoothedAttack,
        classifier: Classifier,
        x: Tensor,
        noise: Noise,
        num_classes: int,
        prediction: int,
        norm: Norm,
        key: bytes,
        scoring: Scoring,
    ) -> None:
        self.budget, self.classifier, self.x, self.noise, self.scoring = budget, classifier, x, noise, scoring
        self.num_classes, self.prediction, self.norm, self.key = num_classes, prediction, norm, key
        self.numbers = count()

    def descend(self, radius: float) -> Tensor:
        """A change of length ``radius`` at most, by steps that fall."""
        delta = torch.zeros_like(self.x)[None]
        momentum = torch.zeros_like(delta)
        for step in range(self.budget.steps):
            gradient = self.gradient(self.x + delta[0])[None]
            momentum = 0.5 * momentum + steepest(gradient, "l2")
            size = 2 * radius * (1 - step / self.budget.steps)
            delta = projected(delta - size * steepest(momentum, self.norm), radius, self.norm)
        return delta[0]

    def gradient(self, point: Tensor) -> Tensor:
        """Of the expected soft vote, a sigmoid of the margin as wide as the noise spreads the margin."""
        fill = self.noise.stream(chunk_seed(self.key, "pilot", next(self.numbers)), point)
        part = max(1, min(self.budget.samples, self.budget.batch_size // 8))  # a gradient keeps every activation
        margins, gradients = [], []
        for _ in range(0, self.budget.samples, part):
            noisy = torch.empty((part, *point.shape), dtype=torch.float32, device=point.device)
            fill(noisy)
            margin, gradient = margin_gradient(self.classifier, noisy, self.prediction, None)
            margins.append(margin)
            gradients.append(gradient)
        margin, gradient = torch.cat(margins).nan_to_num(0.0, 0.0, 0.0), torch.cat(gradients).nan_to_num(0.0, 0.0, 0.0)
        vote = torch.sigmoid(margin / margin.std().clamp_min(1e-30))
        weight = vote * (1 - vote)
        return (weight.view(-1, *[1] * point.dim()) * gradient).mean(0).to(point.dtype)

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
        if self.scoring == VOTES:
            seen = np.sum([self.chunk(point, size, "estimate") for size in sizes], axis=0)
            tail_mass = self.noise.tail_mass(point.numel())
            winner = prediction_test(seen, alpha=LEVEL, tail_mass=tail_mass).prediction
            return seen, None if winner == self.prediction else winner
        parts, leads = [], []
        for size in sizes:
            scores = self.scores(point, size, "estimate")
            parts.append(scores.sum(axis=0))
            leads.append(Moments.of((1 + scores[:, [rival]] - scores[:, [self.prediction]]) / 2))
        lead = reduce(Moments.merge, leads)
        mean = min(1.0, float(lead.mean[0]))
        ahead = bernstein_interval(mean, float(lead.variance[0]), PROOF, delta=LEVEL)[0] > 0.5
        return np.sum(parts, axis=0), rival if ahead and rival < self.num_classes else None

    def crossing(self, delta: Tensor, at: float, seen: np.ndarray) -> tuple[float | None, int | None]:
        """Where along ``delta``, of which ``at`` is the length, most votes turn, and to which class.

        For a linear classifier the normal deviate of the shares falls linearly: Newton's method, then secants.
        """
        slope = -float(delta.norm()) / at / self.noise.sigma
        place, lead, other = at, *self.lead(seen)
        for _ in range(3):
            further = max(0.0, place - lead / slope)
            before, (lead, other) = (place, lead), self.lead(self.votes(self.x + delta * (further / at)))
            if further != place and abs(before[1]) < FAR > abs(lead) and lead != before[1]:
                slope = min(slope / 10, (lead - before[1]) / (further - place))
            place = further
        if abs(lead) > 0.5 * abs(slope) * self.noise.sigma * at / float(delta.norm()):
            return None, None  # half a sigma and more to a turn: the direction leads to none
        return max(0.0, place - lead / slope), other

    def lead(self, seen: np.ndarray) -> tuple[float, int]:
        """How far the prediction's share leads the next class's, in normal deviates; and which class that is."""
        others = seen.copy()
        others[self.prediction] = -1
        other, n = int(others[: self.num_classes].argmax()), int(seen.sum())
        first, second = ((seen[c] + 0.5) / (n + 1) for c in (self.prediction, other))
        return float(ndtri(first) - ndtri(second)) / 2, other
