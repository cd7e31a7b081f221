"""What is proved near one input."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LocalResult:
    """A radius around one input, within which one class is proved to have the largest logit.

    Attributes:
        radius: a proved eps, or the floor that was given where that is more; 0: nothing is proved.
        rule: ``local``, or ``floor`` where that is the larger one.
        proved: the largest eps that was proved here; None: none.
        failed: the smallest eps that was tried in vain; None: none.
        tried: how many eps were tried.
        unstable: entries of piecewise linear activations that are on both sides of 0 somewhere within ``proved``.
        branches: regions that the ball was cut into, over all tries; 0 without branching.
        notes: what was left out or gave up, one sentence each.
    """

    radius: float
    rule: str
    proved: float | None
    failed: float | None
    tried: int
    unstable: int
    branches: int = 0
    notes: tuple[str, ...] = ()
