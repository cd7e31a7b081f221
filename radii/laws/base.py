"""A law of noise: its radius rule, its distribution function, how it is drawn. Formulas: docs/numerics.md 6.2."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from radii.norms import Norm

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.floating[Any]]

SLACK = 1e-12  # the roundings of a formula of a few operations, all of them below 1e-15

COARSE = 2.0**-39
"""The part of a law's tail that is not drawn as finely as float32 rounds, where values follow from the logarithm of u.

u is the nearest multiple of 2^-63 to a number U that is uniform in (0, 1] (2^-64 for 0), so it is off by 2^-64 at most:
by less than 2^-25 of itself, half a unit of float32's last place, unless U < 2^-39. What U below that would give lies
further out than 7.35 (a pair's distance from 0, Gaussian) or 27 b (Laplace); all of it counts as missing.

At the other end, where u rounds to 1, float32 is coarse itself: once in 2^25 pairs, Gaussian values within 2.4e-4 of 0
become 0. Like every rounding of a value, that is part of what "ideal noise" leaves out; noise on the grid has none.
"""


class Law(ABC):
    """Independent noise an axis, symmetric about 0: ``stretch`` times a value of the unit law.

    A radius follows from how likely the class is missed, at most; one side only, unless ``two_sided``.
    """

    name: ClassVar[str]
    norm: ClassVar[Norm]
    """The norm of its radii. An l2 radius is worth something in other norms too (:func:`radii.norms.converted`)."""
    two_sided: ClassVar[bool] = False
    """Whether ``sigma/2 (Phi^-1(pA) - Phi^-1(pB))`` is a radius as well: of Gaussian noise."""
    reach: ClassVar[float]
    """Standard deviations; beyond lies less than 1e-16 of an axis."""
    missing: ClassVar[float]
    """How far a value drawn in floating point is from the law, at most (total variation)."""
    generator: ClassVar[str]
    """The name of ``values``, by which its noise is known: another formula takes another name."""
    fused: ClassVar[str | None] = None
    """The name of ``of_words``; None: there is none, nor a kernel, so a GPU's noise is drawn on the CPU."""

    @abstractmethod
    def stretch(self, sigma: float) -> float:
        """The law's parameter, where its standard deviation is ``sigma``."""

    @abstractmethod
    def ideal(self, miss: float, stretch: float) -> float:
        """The radius of a class that is missed with probability ``miss`` < 1/2, to 1e-12 of it: write it without
        cancellation near 1/2."""

    def radius(self, miss: float, stretch: float) -> float:
        """The radius of ``ideal``, rounded down: certified."""
        return self.ideal(miss, stretch) * (1 - SLACK)

    @abstractmethod
    def most_misses(self, radius: float, stretch: float) -> float:
        """A probability to miss the class that certifies ``radius``, rounded down; 0 or less where none does."""

    @abstractmethod
    def cdf(self, z: Values) -> Values:
        """The distribution function at standard deviation 1; both ends to 1e-16 or so, absolutely."""

    @abstractmethod
    def values(self, bits: np.random.SFC64, out: npt.NDArray[np.float32]) -> None:
        """Overwrites ``out`` (even length) with values at ``stretch`` 1."""

    def of_words(self, word: npt.NDArray[np.uint64]) -> Values:
        """Values at ``stretch`` 1 of words (samples, even) of 64 bits each, as a GPU draws them but in float64."""
        raise NotImplementedError(f"{self.name} noise is not drawn by a GPU")


def unit(word: npt.NDArray[np.uint64]) -> Values:
    """Uniform in [-1, 1]."""
    import numpy as np

    made: Values = word.view(np.int64) * 2.0**-63
    return made


def log_size(word: npt.NDArray[np.uint64]) -> Values:
    """Minus the logarithm of a number that is uniform in (0, 1]: at least 2^-64."""
    import numpy as np

    made: Values = -np.log(np.maximum(np.abs(unit(word)), 2.0**-64))
    return made
