"""The shared derivatives of the largest singular value, each beside those of ``gram_norm``, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from radii.layers import Convolution
from radii.lipschitz import gram_norm

Difference = tuple[str, float, float]
"""A name, what was found, what is expected."""

STEPS = 14  # of Gram iteration: the gaps of these cases need no more, and rounding grows with each
POINTS = 16  # of the polynomial through norms beyond a tie


def differences(values: dict[str, Any]) -> Iterator[Difference]:
    """Every number of the file that the function and its derivatives say: what is found, and what is expected."""
    dense = values["dense"]
    found = _derivatives(lambda w: gram_norm(w, steps=STEPS), dense["W"], dense["E"])
    for name, value in zip(("sigma1", "d1", "d2"), found, strict=True):
        yield f"dense {name}", value, dense[name]
    yield "dense mp_d1", found[1], dense["mp_d1"]
    yield "dense mp_d2", found[2], dense["mp_d2"]
    conv = values["conv"]
    n, channels = conv["n"], len(conv["K"][0])

    def zero(kernel: Tensor) -> Tensor:
        unit = torch.eye(channels * n * n, dtype=kernel.dtype).reshape(-1, channels, n, n)
        return gram_norm(Convolution(3).apply(unit, kernel).flatten(1).mT, steps=STEPS)

    def circular(kernel: Tensor) -> Tensor:
        return gram_norm(kernel, steps=STEPS, torus=(n, n))

    for mode, norm in (("zero", zero), ("circular", circular)):
        for name, value in zip(("sigma1", "d1", "d2"), _derivatives(norm, conv["K"], conv["D"]), strict=True):
            yield f"conv {mode} {name}", value, conv[mode][name]
    hand = values["diagonal_by_hand"]
    found = _derivatives(lambda w: gram_norm(w, steps=STEPS), hand["W"], hand["E"])
    for name, value in zip(("sigma1", "d1", "d2"), found, strict=True):
        yield f"diagonal_by_hand {name}", value, hand[name]
    tie = values["tie"]
    yield "tie right_derivative", _one_sided(tie["W"], tie["E"]), tie["right_derivative"]
    yield "tie left_derivative", -_one_sided(tie["W"], -np.array(tie["E"])), tie["left_derivative"]


def _derivatives(norm: Callable[[Tensor], Tensor], weight: Any, direction: Any) -> tuple[float, float, float]:
    """The norm, and its first and second derivative along the direction."""
    w = torch.tensor(weight, dtype=torch.float64, requires_grad=True)
    e = torch.tensor(direction, dtype=torch.float64)
    value = norm(w)
    (gradient,) = torch.autograd.grad(value, w, create_graph=True)
    first = (gradient * e).sum()
    (second,) = torch.autograd.grad(first, w)
    return value.item(), first.item(), (second * e).sum().item()


def _one_sided(weight: Any, direction: Any) -> float:
    """The derivative at a tie along a direction: that of the polynomial through norms a little beyond, which is
    analytic.
    """
    w, e = (torch.tensor(np.array(values), dtype=torch.float64) for values in (weight, direction))
    nodes = np.cos(np.pi * (np.arange(POINTS) + 0.5) / POINTS) / 4 + 0.25
    norms = [float(gram_norm(w + float(h) * e, steps=40)) for h in nodes]
    return float(np.polynomial.Chebyshev.fit(nodes, norms, POINTS - 1, domain=[0, 0.5]).deriv()(0.0))
