"""g itself, for whoever serves predictions: what was certified is the smoothed classifier, not the network."""

import secrets
from dataclasses import dataclass

import torch
from scipy.special import betainc

from radii.smoothing.keys import chunk_size, chunks
from radii.smoothing.noise import Noise
from radii.smoothing.prediction import Counts
from radii.smoothing.sampling import Classifier, count_chunk


def prediction_test(counts: Counts, *, alpha: float) -> int | None:
    """PREDICT of Cohen et al. 2019: the smoothed classifier's class from its votes; None to abstain.

    What is returned is not the class of g with probability at most ``alpha`` (proposition 2: the two-sided binomial
    test of the first against the second, Hung & Fithian 2019). ``counts`` as :func:`certificate`'s: where most votes
    are non-finite logits, it abstains. Raises ValueError for an alpha out of range, and without votes.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha: must lie strictly between 0 and 1, not {alpha}")
    votes = [int(count) for count in counts]
    first = votes.index(max(votes))
    if not votes[first]:
        raise ValueError("counts: there are no votes")
    second = max(count for j, count in enumerate(votes) if j != first)
    if first == len(votes) - 1:
        return None
    # 2 P(Binomial(first + second, 1/2) >= first)
    p_value = min(1.0, 2 * float(betainc(votes[first], second + 1, 0.5)))
    return first if p_value * (1 + 1e-9) <= alpha else None


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
                stage="estimate",
                number=number,
                size=chunk_size(self.n, number),
                batch_size=self.batch_size,
            )
            for number in range(chunks(self.n))
        )
        return prediction_test(counts, alpha=self.alpha)  # type: ignore[arg-type]
