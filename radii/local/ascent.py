"""Free slopes, and weights of cuts, by gradient ascent on what they bound: whatever is found is proved as any other.

Adam with projection (Xu et al., ICLR 2021; Wang et al., NeurIPS 2021 for the weights). Formulas: docs/numerics.md 11.8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from radii.local.bounds import Bounds

RATE = 0.3
DECAY = 0.97

Stop = Callable[[Tensor], bool]


def ascend(
    bounds: Bounds,
    name: str,
    forms: Tensor,
    start: Tensor,
    steps: int,
    *,
    weights: Mapping[str, Tensor] | None = None,
    stop: Stop = lambda best: False,
) -> Tensor:
    """The best (N, R) lower bounds of forms on an activation that were found, ``start`` among them.

    ``bounds.alphas``, and ``bounds.weights`` where ``weights`` are given to begin with, are those of the last best sum
    over a sample's rows.
    """
    slopes = {
        key: value.expand(-1, forms.shape[1], *value.shape[2:]).clone().requires_grad_()
        for key, value in bounds.hinge_slopes(name).items()
    }
    cuts = {key: value.clone().requires_grad_() for key, value in (weights or {}).items()}
    leaves = [*slopes.values(), *cuts.values()]
    if not leaves or not steps:
        return start
    best, best_sum = start, torch.full((len(start),), -torch.inf, dtype=start.dtype, device=start.device)
    kept = [leaf.detach().clone() for leaf in leaves]
    optimiser = torch.optim.Adam(leaves, lr=RATE)
    for step in range(steps):
        with torch.enable_grad():
            tried = bounds.with_slopes(slopes, cuts)
            made = tried.least(name, forms)
            finite = made.isfinite()
            loss = -torch.where(finite, made, 0.0).sum()
        best = torch.maximum(best, made.detach())
        sums = made.detach().sum(1)
        better = sums > best_sum
        best_sum = torch.where(better, sums, best_sum)
        for old, leaf in zip(kept, leaves, strict=True):
            old[better] = leaf.detach()[better]
        if stop(best) or step == steps - 1 or not loss.requires_grad:
            break
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
        for leaf, gradient in zip(leaves, gradients, strict=True):
            leaf.grad = torch.zeros_like(leaf) if gradient is None else gradient.nan_to_num(0.0, 0.0, 0.0)
        optimiser.step()
        for group in optimiser.param_groups:
            group["lr"] *= DECAY
        with torch.no_grad():
            for leaf in slopes.values():
                leaf.clamp_(0, 1)
            for leaf in cuts.values():
                leaf.clamp_(min=0)
    count = len(slopes)
    bounds.adopt(dict(zip(slopes, kept[:count], strict=True)), dict(zip(cuts, kept[count:], strict=True)))
    return best
