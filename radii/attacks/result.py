"""The outcome of an attack."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


class NotAttackable(Exception):
    """The network has no gradient to follow: what it computes, or the way it is run, is not differentiable."""


@dataclass(frozen=True, slots=True)
class Attack:
    """What was found around one input.

    Attributes:
        distance: the smallest at which another class was found, in the norm of the attack; None: nowhere.
        prediction: the class there.
        contradicted: another class was found strictly inside the radius that was to be broken, without doubt.
        x: the input that contradicts it; None where none does.
    """

    distance: float | None
    prediction: int | None
    contradicted: bool
    x: npt.NDArray[np.floating] | None
