"""Activations that sort: their Jacobians are permutations, so that they keep the norm of gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GroupSort(nn.Module):
    """Sorts groups of neighbouring features, ascending: axis 1 of (batch, features, ...). 1-Lipschitz.

    (Anil et al., ICML 2019, arXiv 1811.05381.)

    Args:
        group: features in a group; it divides their number. 2 is :class:`MaxMin`, but for the order.
    """

    def __init__(self, group: int = 2) -> None:
        super().__init__()
        if group < 2:
            raise ValueError(f"a group has at least 2 features, not {group}")
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] % self.group:
            raise ValueError(f"{x.shape[1]} features can't be cut into groups of {self.group}")
        groups = x.reshape(-1, x.shape[1] // self.group, self.group, *x.shape[2:])
        if self.group == 2:  # what every exporter can write
            first, second = groups.unbind(2)
            ordered = torch.stack([torch.minimum(first, second), torch.maximum(first, second)], 2)
        else:
            ordered = groups.sort(2).values
        return ordered.flatten(1, 2)


class MaxMin(GroupSort):
    """The smaller and the larger of each pair of neighbouring features: axis 1 of (batch, features, ...).
    1-Lipschitz.
    """

    def __init__(self) -> None:
        super().__init__(2)
