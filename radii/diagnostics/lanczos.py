"""Extreme eigenvalues, trace and density of a symmetric operator that is known by its products alone.

Lanczos (J. Res. Nat. Bur. Stand. 45, 1950) with full reorthogonalisation, twice; the trace by Hutchinson's estimator
(Commun. Stat. Simul. 19, 1990) on what the Lanczos basis leaves over, which costs no further product: most of the trace
is known exactly, and only the rest is estimated. Estimates, never bounds. Formulas: docs/diagnostics.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from scipy.special import stdtrit
from torch import Tensor

Product = Callable[[Tensor], Tensor]

CONFIDENCE = 0.95  # of an interval
SURE = 0.99  # of what an extreme eigenvalue is said not to exceed
ENDED = 1e-12  # of the largest image so far: what is left of the next vector is rounding


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean of random probes.

    Attributes:
        error: its standard error; 0 where nothing was left to chance.
        probes: how many.
    """

    value: float
    error: float
    probes: int

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, by Student's distribution."""
        if self.probes < 2:
            return (self.value, self.value) if self.error == 0 else (-math.inf, math.inf)
        reach = float(stdtrit(self.probes - 1, (1 + CONFIDENCE) / 2)) * self.error
        return self.value - reach, self.value + reach


@dataclass(frozen=True, slots=True)
class Extreme:
    """An eigenvalue at an end of the spectrum, from inside: the true one lies at it or beyond.

    Attributes:
        residual: ``|H v - value v|``; some eigenvalue is within it.
        beyond: the true one does not lie beyond this, with probability 0.99 over the random start; None: not known.
    """

    value: float
    residual: float
    beyond: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Krylov:
    """An orthonormal basis, (n, k), and its images under H, (n, k)."""

    basis: Tensor
    images: Tensor
    whole: bool  # the Krylov space ended before: later vectors had a fresh random start

    @property
    def projected(self) -> Tensor:
        """(k, k) ``Q^T H Q``."""
        made = self.basis.T @ self.images
        return (made + made.T) / 2

    def extremes(self) -> tuple[Extreme, Extreme]:
        """The least and the largest eigenvalue."""
        values, vectors = torch.linalg.eigh(self.projected)
        reach = self._reach(float(values[-1] - values[0]))
        found = []
        for place, sign in ((0, -1), (-1, 1)):
            value = float(values[place])
            off = self.images @ vectors[:, place] - value * (self.basis @ vectors[:, place])
            found.append(Extreme(value, float(off.norm()), None if reach is None else value + sign * reach))
        return found[0], found[1]

    def top_vector(self) -> Tensor:
        """(n,) of the largest eigenvalue."""
        vectors = torch.linalg.eigh(self.projected)[1]
        found: Tensor = self.basis @ vectors[:, -1]
        return found

    def density(self) -> tuple[Tensor, Tensor]:
        """Values (k,) and weights (k,) that add up to 1: the spectrum as the random start saw it (Lin, Saad, Yang,
        SIAM Review 58, 2016)."""
        values, vectors = torch.linalg.eigh(self.projected)
        return values, vectors[0].square()

    def _reach(self, spread: float) -> float | None:
        """How far beyond a Ritz value the end of the spectrum lies, at most, with probability `SURE` for both ends:
        ``P(lmax - theta > e (lmax - lmin)) <= 1.648 sqrt(n) exp(-sqrt(e) (2k - 1))`` (Kuczynski and Wozniakowski, SIAM
        J. Matrix Anal. 13, 1992)."""
        n, k = self.basis.shape
        if k == n or self.whole:
            return 0.0
        share = (math.log(1.648 * math.sqrt(n) * 2 / (1 - SURE)) / (2 * k - 1)) ** 2
        return share * spread / (1 - 2 * share) if share < 0.5 else None


def lanczos(product: Product, size: int, steps: int, generator: torch.Generator) -> Krylov:
    """``min(steps, size)`` products. Where the space of the start ends, it goes on from another one: with as many steps
    as there are dimensions all eigenvalues are found, multiple ones too."""
    steps = min(steps, size)
    basis, images = (torch.zeros((size, steps), dtype=torch.float64) for _ in range(2))
    vector, whole, largest = _random(size, generator), False, 0.0
    for step in range(steps):
        basis[:, step] = vector
        images[:, step] = product(vector)
        largest = max(largest, float(images[:, step].norm()))
        vector, length = _orthogonal(images[:, step], basis[:, : step + 1])
        if length <= ENDED * largest and step + 1 < steps:
            whole = True
            vector, _ = _orthogonal(_random(size, generator), basis[:, : step + 1])
    return Krylov(basis, images, whole)


def _random(size: int, generator: torch.Generator) -> Tensor:
    vector = torch.randn(size, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(vector, dim=0)


def _orthogonal(vector: Tensor, basis: Tensor) -> tuple[Tensor, float]:
    """What a basis leaves of a vector, normed, and its length."""
    for _ in range(2):
        vector = vector - basis @ (basis.T @ vector)
    length = float(vector.norm())
    rest = vector / length if length else vector
    return rest, length


class Deflated:
    """Traces over blocks of coordinates and the squared Frobenius norm: what a basis knows, and random probes of the
    rest, ``tr(P H) = tr(P (H - R H R)) + E g^T P R H R g`` with ``R = I - Q Q^T``, signs g, and P a block.

    Args:
        blocks: disjoint ranges of coordinates that make up all.
    """

    def __init__(
        self, product: Product, krylov: Krylov, blocks: Sequence[slice], probes: int, generator: torch.Generator
    ) -> None:
        basis, images, small = krylov.basis, krylov.images, krylov.projected
        known = 2 * basis * images - basis * (basis @ small)
        self._known = torch.stack([known[block].sum() for block in blocks])
        self._known_square = float(2 * images.square().sum() - small.square().sum())
        size = len(basis)
        rows, squares = [], []
        for _ in range(probes if basis.shape[1] < size else 0):
            signs = torch.randint(0, 2, (size,), generator=generator).double() * 2 - 1
            image = product(signs - basis @ (basis.T @ signs))
            image = image - basis @ (basis.T @ image)
            rows.append(torch.stack([(signs * image)[block].sum() for block in blocks]))
            squares.append(image.square().sum())
        self._seen = torch.stack(rows) if rows else torch.zeros((0, len(blocks)), dtype=torch.float64)
        self._squares = torch.stack(squares) if squares else torch.zeros(0, dtype=torch.float64)

    @cached_property
    def trace(self) -> Estimate:
        return self.weighted([1.0] * len(self._known))

    def weighted(self, weights: Sequence[float]) -> Estimate:
        """``sum_b weights_b tr(H_bb)``."""
        factors = torch.tensor(weights, dtype=torch.float64)
        return _estimate(float(self._known @ factors), self._seen @ factors)

    def block(self, place: int) -> Estimate:
        """``tr(H_bb)`` of a block."""
        return _estimate(float(self._known[place]), self._seen[:, place])

    @property
    def frobenius_squared(self) -> Estimate:
        """``|H|_F^2``: of a Hessian, how much its spectrum holds apart from its mean."""
        return _estimate(self._known_square, self._squares)


def _estimate(known: float, seen: Tensor) -> Estimate:
    if not len(seen):
        return Estimate(known, 0.0, 0)
    error = float(seen.std()) / math.sqrt(len(seen)) if len(seen) > 1 else math.inf
    return Estimate(known + float(seen.mean()), error, len(seen))
