"""g itself, for whoever serves predictions: what was certified is the smoothed classifier, not the network.
Formulas: docs/numerics.md 4.5.
"""

import secrets
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.special import betainc

from radii.smoothing.keys import chunk_size, chunks
from radii.smoothing.noise import Noise
from radii.smoothing.prediction import Counts
from radii.smoothing.sampling import Classifier, count_chunk


class Answer(NamedTuple):
    """What is said of g at one input."""

    prediction: int | None
    """Its class; None to abstain."""
    p_value: float
    """The p-value of "g answers otherwise", rounded up; 1 where most votes are non-finite logits: no class."""


def prediction_test(counts: Counts, *, alpha: float, tail_mass: float = 0.0) -> Answer:
    """PREDICT of Cohen et al. 2019: the smoothed classifier's class from its votes, or abstention.

    What is answered is not the class of g with probability at most ``alpha`` (proposition 2: the two-sided binomial
    test of the first against the second, Hung & Fithian 2019). ``counts`` as :func:`certificate`'s; ``tail_mass`` as
    :class:`Noise`'s: a sample is none of the law with that probability, and such strays are counted against the first.
    Raises ValueError for an alpha or a mass out of range, and without votes.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha: must lie strictly between 0 and 1, not {alpha}")
    if not 0 <= tail_mass < 1:
        raise ValueError(f"tail_mass: must be at least 0 and below 1, not {tail_mass}")
    votes = [int(count) for count in counts]
    first = votes.index(max(votes))
    if not votes[first]:
        raise ValueError("counts: there are no votes")
    if first == len(votes) - 1:
        return Answer(None, 1.0)
    second = max(count for j, count in enumerate(votes) if j != first)
    strays, chance = _strays(sum(votes), tail_mass, alpha)
    for_first, for_second = votes[first] - strays, second + strays
    if for_first <= for_second:
        return Answer(None, 1.0)
    # 2 P(Binomial(for_first + for_second, 1/2) >= for_first), and the chance that there were more strays
    p_value = min(1.0, (2 * float(betainc(for_first, for_second + 1, 0.5)) + chance) * (1 + 1e-9))
    return Answer(first if p_value <= alpha else None, p_value)


def _strays(n: int, tail_mass: float, alpha: float) -> tuple[int, float]:
    """So many of n samples may be strays, and the chance of more: a tenth of alpha at most."""
    for strays in range(n if tail_mass else 0):
        chance = float(betainc(strays + 1, n - strays, tail_mass))
        if chance <= alpha / 10:
            return strays, chance
    return (n if tail_mass else 0), 0.0


@dataclass(frozen=True, slots=True)
class SmoothedClassifier:
    """The classifier g that smoothing certifies, by Monte Carlo.

    Attributes:
        classifier: f, as in :func:`count_chunk`.
        noise: the law that g was certified with.
        alpha: probability that an answer is not g's, at most.
        n: votes an input.
    """

    classifier: Classifier
    noise: Noise
    num_classes: int
    alpha: float = 0.001
    n: int = 1000
    batch_size: int = 100

    def predict(self, x: torch.Tensor) -> int | None:
        """g's class of one float32 input without batch axis; None where n votes do not tell. Fresh noise every time."""
        key = secrets.token_bytes(32)
        counts = sum(
            count_chunk(
                self.classifier,
                x,
                num_classes=self.num_classes,
                noise=self.noise,
                key=key,
                stage="predict",
                number=number,
                size=chunk_size(self.n, number),
                batch_size=self.batch_size,
            )
            for number in range(chunks(self.n))
        )
        tail_mass = self.noise.tail_mass(x.numel())
        return prediction_test(counts, alpha=self.alpha, tail_mass=tail_mass).prediction  # type: ignore[arg-type]
