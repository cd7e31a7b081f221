"""Where inputs lie: a ball, a box, or what a ball and a box have in common. Formulas: docs/numerics.md 11.5."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from radii.local.slack import STEP, TINY, flat_dot, gamma, lowered, raised
from radii.norms import Norm

SHARES = 24  # multipliers that are tried where a ball meets a box
UNDERFLOW = 2.0**-510  # an entry whose square is not normal is smaller


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Inputs of each sample: within ``eps`` (N,) of ``centre`` (N, *shape) in ``norm``, and between ``lo`` and ``hi``.

    ``norm`` None: between lo and hi alone. ``boxed``: lo and hi say more than the ball does.
    """

    centre: Tensor
    lo: Tensor
    hi: Tensor
    norm: Norm | None = None
    eps: Tensor | None = None
    boxed: bool = False

    @classmethod
    def ball(cls, x: Tensor, eps: Tensor, norm: Norm, box: tuple[Tensor, Tensor] | None = None) -> Region:
        """A ball, or its part within a box (lo, hi) that holds its centre."""
        reach = eps.reshape(-1, *[1] * (x.ndim - 1))
        lo, hi = lowered(x - reach), raised(x + reach)
        if box is None:
            return cls(x, lo, hi, norm, eps)
        lo, hi = torch.maximum(lo, box[0]), torch.minimum(hi, box[1])
        if norm == "linf":
            return cls.box(lo, hi)
        return cls(x, lo, hi, norm, eps, boxed=True)

    @classmethod
    def box(cls, lo: Tensor, hi: Tensor) -> Region:
        """All between two inputs."""
        return cls(lo / 2 + hi / 2, lo, hi)

    def rows(self, chosen: Tensor | slice) -> Region:
        """The same of some samples."""
        eps = None if self.eps is None else self.eps[chosen]
        return replace(self, centre=self.centre[chosen], lo=self.lo[chosen], hi=self.hi[chosen], eps=eps)

    def least(self, forms: Tensor) -> Tensor:
        """(N, R) what forms (N or 1, R, *shape) are at least, rounding included."""
        lost = gamma(math.prod(self.centre.shape[1:])) * flat_dot(forms.abs(), self.centre.abs())
        return flat_dot(forms, self.centre) - self.away(forms) - lost

    def away(self, forms: Tensor) -> Tensor:
        """(N, R) by how much at most they fall from what they are at the centre, rounding included; of a mere ball
        forms on anything that moves no farther than the input does."""
        if self.norm is None:
            below = self._below_in_box(forms)
        else:
            assert self.eps is not None
            below = self.eps[:, None] * dual_norm(forms, self.norm)
            if self.boxed:
                below = torch.minimum(below, self._below_in_both(forms))
        rounding = gamma(math.prod(forms.shape[2:])) + STEP
        return below * (1 + rounding) + TINY * (1 + self.reach().flatten(1).sum(1, keepdim=True))

    def farthest(self) -> Tensor:
        """(N,) how far any entry is from the centre's, at most."""
        return self._radius().flatten(1).amax(1) if self.eps is None else self.eps

    def reach(self) -> Tensor:
        """(N, *shape) how large entries are at most."""
        return raised(torch.maximum(self.lo.abs(), self.hi.abs()))

    def _radius(self) -> Tensor:
        return raised(torch.maximum(self.hi - self.centre, self.centre - self.lo))

    def _below_in_box(self, forms: Tensor) -> Tensor:
        return flat_dot(forms.abs(), self._radius())

    def _below_in_both(self, forms: Tensor) -> Tensor:
        """Any part of a form may be left to the ball, and the rest to the box."""
        assert self.eps is not None and self.norm is not None
        radius, largest = self._radius()[:, None], forms.abs().flatten(2).amax(2)
        down, up = raised(self.centre - self.lo)[:, None], raised(self.hi - self.centre)[:, None]
        best = self._below_in_box(forms)
        column = (slice(None), slice(None), *[None] * (forms.ndim - 2))
        for share in range(1, SHARES):
            cut = largest * 2.0 ** (-share / 2)
            if self.norm == "l2":  # the minimiser clips -A / mu to the box
                scale = cut[column] / radius.flatten(2).amax(2).clamp_min(TINY)[column]
                ball = torch.maximum(torch.minimum(forms, scale * down), -scale * up)
            else:
                ball = forms.clamp(-cut[column], cut[column])
            rest = forms - ball
            lost = gamma(1) * flat_dot(forms.abs(), radius[:, 0])
            found = self.eps[:, None] * dual_norm(ball, self.norm) + lost
            found = found + flat_dot(rest.clamp(min=0), down[:, 0]) + flat_dot((-rest).clamp(min=0), up[:, 0])
            best = torch.minimum(best, found)
        return best


def dual_norm(forms: Tensor, norm: Norm) -> Tensor:
    """(N, R) norms dual to ``norm`` of forms (N, R, *shape), but for `gamma`; squares that underflow are counted in."""
    rows = forms.flatten(2)
    if norm == "linf":
        return rows.abs().sum(2)
    if norm == "l1":
        return rows.abs().amax(2)
    norms: Tensor = torch.linalg.vector_norm(rows, dim=2)
    return norms + UNDERFLOW * rows.shape[2]
