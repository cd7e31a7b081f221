"""Deterministic l1 radii of 8-bit inputs: splitting noise with every offset evaluated (Levine & Feizi 2021).

The interval of values is cut at points ``period`` steps apart, half a step off the grid, and a value is replaced by the
middle of its piece. Moved by one step all the way round the period, the cuts fall once between two neighbouring values:
so a change of an input by one step in one place alters one of the ``period`` votes at most. Where the cuts of an axis
start is public and the same for every input. Nothing is random: no alpha, no pilot. The claim is about the inputs on
the grid, not between.

Theorem 2 and its derandomisation, arXiv 2103.10834; ``period`` is their 2 lambda q, for lambda below 1/2 too.
Formulas: docs/numerics.md 4.7.
"""

import hashlib
import math

import numpy as np
import numpy.typing as npt
import torch

from radii.laws import LAWS
from radii.smoothing.keys import CHUNK, chunk_size, chunks
from radii.smoothing.l1 import radius_splitting
from radii.smoothing.noise.base import sfc64
from radii.smoothing.noise.grid import STEPS, Grid
from radii.smoothing.prediction import Counts, SmoothedPrediction, winner
from radii.smoothing.sampling import Classifier, count_votes

MOST = 2**20  # offsets


class Splitting:
    """The pieces of 8-bit inputs at each offset.

    ``period`` is the number of offsets, ``round(2 sqrt(3) sigma)`` in steps of ``(high - low)/255``: a cut is uniform
    on that length, so sigma is its standard deviation, as the paper's ``lambda/sqrt(3)``.
    """

    def __init__(self, sigma: float, low: float = 0.0, high: float = 1.0) -> None:
        """Raises ValueError, naming the argument, for a sigma of no whole step, or of more offsets than 2^20."""
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"low, high: must be finite and increasing, not {low}, {high}")
        if not (sigma > 0 and math.isfinite(sigma)):
            raise ValueError(f"sigma: must be positive and finite, not {sigma}")
        self.sigma, self.low, self.high = sigma, low, high
        length = 2 * math.sqrt(3) * sigma * STEPS / (high - low)
        if not 1.5 <= length <= MOST:
            raise ValueError(f"sigma: splitting takes 2 to {MOST} offsets, not {length:.6g}; choose another sigma")
        self.period = round(length)
        self.grid = Grid(LAWS["uniform"], high - low, low, high)

    @property
    def name(self) -> str:
        """Part of the certificate: with the shape of an input it says where every cut is."""
        return f"splitting/{STEPS}/{self.period}/sfc64-1"

    def starts(self, dimension: int) -> np.ndarray:
        """Where the cuts of each axis start at offset 0, in steps less one half (int64, below ``period``)."""
        seed = hashlib.sha256(f"{self.name} of {dimension}".encode()).digest()
        return np.random.Generator(sfc64(seed)).integers(0, self.period, dimension)

    def pieces(self, x: torch.Tensor, first: int, count: int) -> torch.Tensor:
        """What is seen of ``x`` at offsets ``first`` onwards: float32, shape (count, *x.shape), on x's device.

        Middles of pieces, cut off at the ends of the range. ``x``: one float32 input on the grid (ValueError).
        """
        steps = self.grid.steps(x.cpu())
        if steps is None:
            raise ValueError(f"x: is not on the grid of {STEPS} steps from {self.low} to {self.high}")
        k = steps.numpy().reshape(1, -1).astype(np.int64)
        # cuts at start + 1/2 + m period; k is above the m-th where k - start - 1/2 >= m period
        start = (self.starts(k.size) + np.arange(first, first + count)[:, None]) % self.period
        below = (k - start - 1) // self.period
        cut = 2 * (below * self.period + start) + 1  # half steps
        middle = np.maximum(cut, 0) + np.minimum(cut + 2 * self.period, 2 * STEPS)  # quarter steps
        values = self.low + middle * ((self.high - self.low) / (4 * STEPS))  # a function of the piece alone
        return torch.from_numpy(values.astype(np.float32)).view(count, *x.shape).to(x.device)

    def certificate(self, counts: Counts) -> SmoothedPrediction:
        """The exact radius of the votes of all offsets; their last entry, non-finite logits, is a class without one.

        Raises ValueError unless the counts add up to ``period``.
        """
        top, known = winner(counts)
        votes = tuple(int(count) for count in counts)
        if sum(votes) != self.period:
            raise ValueError(f"counts: add up to {sum(votes)}, not to the {self.period} offsets")
        radii = [
            radius_splitting(votes[top], votes[j], runner_up_before=j < top, span=self.high - self.low)
            for j in range(len(votes))
            if j != top
        ]
        radius = None if not known or None in radii else min(radius for radius in radii if radius is not None)
        share = votes[top] / self.period
        return SmoothedPrediction(
            prediction=None if radius is None else top,
            pilot_class=top if known else None,
            radius=radius,
            abstained=radius is None,
            p_lower=math.nextafter(share, 0.0) if known else None,
            p_upper=None,
            sides=None,
            decision=None,
            counts=votes,
            pilot_counts=(),
            n=self.period,
            alpha=0.0,
            sigma=self.sigma,
            tail_mass=0.0,
        )


def certify_splitting(
    classifier: Classifier, x: torch.Tensor, *, num_classes: int, splitting: Splitting, batch_size: int = 100
) -> SmoothedPrediction:
    """The smoothed class of one input and its exact l1 radius, from ``splitting.period`` evaluations.

    ``classifier`` must be one function: where its answer depends on the place in a batch, to the last bit, so may a
    vote. The same holds for whoever serves the smoothed class. Otherwise as :func:`count_chunk`.
    """
    votes = np.zeros(num_classes + 1, np.int64)
    for number in range(chunks(splitting.period)):
        votes += count_offsets(
            classifier, x, num_classes=num_classes, splitting=splitting, number=number, batch_size=batch_size
        )
    return splitting.certificate(votes)


def count_offsets(
    classifier: Classifier, x: torch.Tensor, *, num_classes: int, splitting: Splitting, number: int, batch_size: int
) -> npt.NDArray[np.int64]:
    """The votes of the offsets of chunk ``number``; otherwise as :func:`count_chunk`."""
    offset, size = number * CHUNK, chunk_size(splitting.period, number)

    def fill(out: torch.Tensor) -> None:
        nonlocal offset
        out.copy_(splitting.pieces(x, offset, len(out)))
        offset += len(out)

    return count_votes(classifier, x, num_classes=num_classes, fill=fill, size=size, batch_size=batch_size)
