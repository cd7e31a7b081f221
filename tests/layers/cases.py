"""Every layer in every form, with parameters that nobody chose: what the property suite runs through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from radii.layers import AOL, CPL, SLL, SOC, Cayley, GroupSort, MaxMin, UnitRows


@dataclass(frozen=True)
class Case:
    """A layer, and the shape of one input.

    Attributes:
        isometry: whether it keeps the length of its input, or of what its transpose is given.
        rows: whether only each output alone is 1-Lipschitz.
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    isometry: bool = False
    rows: bool = False

    def layer(self, dtype: torch.dtype = torch.float64) -> nn.Module:
        """With seeded normal parameters."""
        layer = self.build().to(dtype)
        generator = torch.Generator().manual_seed(3)
        for parameter in layer.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype)
        return layer

    def inputs(self, count: int, dtype: torch.dtype = torch.float64, *, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn((count, *self.shape), generator=generator, dtype=torch.float64).to(dtype)


SQUARE, OBLONG = (3, 6, 6), (3, 5, 4)

CASES = {
    "SLL": Case(lambda: SLL(6, 9), (6,)),
    "SLL rescaled": Case(lambda: SLL(6, 4, steps=3), (6,)),
    "SLL conv": Case(lambda: SLL(3, 4, kernel_size=3), OBLONG),
    "SLL conv circular": Case(lambda: SLL(3, 4, kernel_size=3, padding_mode="circular"), OBLONG),
    "SLL conv rescaled": Case(lambda: SLL(3, kernel_size=3, steps=3, padding_mode="circular"), OBLONG),
    "SLL conv stride": Case(lambda: SLL(3, 5, kernel_size=3, stride=2), (3, 6, 5)),
    "SLL conv circular stride": Case(lambda: SLL(3, 5, kernel_size=5, stride=2, padding_mode="circular"), (3, 6, 4)),
    "SLL conv kernel > image": Case(lambda: SLL(2, 3, kernel_size=7), (2, 3, 4)),
    "SLL conv circular kernel > image": Case(lambda: SLL(2, 3, kernel_size=7, padding_mode="circular"), (2, 3, 2)),
    "CPL": Case(lambda: CPL(6, 9), (6,)),
    "CPL conv": Case(lambda: CPL(3, 4, kernel_size=3), OBLONG),
    "CPL conv circular": Case(lambda: CPL(3, 4, kernel_size=3, padding_mode="circular"), OBLONG),
    "CPL conv stride": Case(lambda: CPL(3, 4, kernel_size=3, stride=2), (3, 6, 5)),
    "CPL conv kernel > image": Case(lambda: CPL(2, 3, kernel_size=7), (2, 3, 4)),
    "CPL conv circular kernel > image": Case(lambda: CPL(2, 3, kernel_size=7, padding_mode="circular"), (2, 3, 2)),
    "AOL": Case(lambda: AOL(6, 4), (6,)),
    "AOL rescaled": Case(lambda: AOL(4, 6, steps=3), (4,)),
    "AOL conv": Case(lambda: AOL(3, 4, kernel_size=3), OBLONG),
    "AOL conv circular": Case(lambda: AOL(3, 2, kernel_size=3, padding_mode="circular"), OBLONG),
    "AOL conv stride": Case(lambda: AOL(3, 6, kernel_size=3, stride=2, steps=2), (3, 6, 5)),
    "AOL conv kernel > image": Case(lambda: AOL(2, 3, kernel_size=7), (2, 3, 4)),
    "Cayley": Case(lambda: Cayley(6, 6), (6,), isometry=True),
    "Cayley tall": Case(lambda: Cayley(4, 6), (4,), isometry=True),
    "Cayley wide": Case(lambda: Cayley(6, 4), (6,), isometry=True),
    "Cayley conv": Case(lambda: Cayley(3, 4, kernel_size=3), SQUARE, isometry=True),
    "Cayley conv oblong": Case(lambda: Cayley(3, 2, kernel_size=3), OBLONG, isometry=True),
    "Cayley conv kernel > image": Case(lambda: Cayley(2, 2, kernel_size=7), (2, 3, 4), isometry=True),
    "SOC": Case(lambda: SOC(6), (6,), isometry=True),
    "SOC conv": Case(lambda: SOC(3, kernel_size=3), OBLONG, isometry=True),
    "SOC conv circular": Case(lambda: SOC(3, kernel_size=3, padding_mode="circular"), OBLONG, isometry=True),
    "UnitRows": Case(lambda: UnitRows(6, 4), (6,), rows=True),
    "MaxMin": Case(MaxMin, (6,), isometry=True),
    "MaxMin conv": Case(MaxMin, (4, 3, 2), isometry=True),
    "GroupSort": Case(lambda: GroupSort(3), (6,), isometry=True),
}

EXPORTED = [  # one of each form that files have: an export takes a second
    "SLL",
    "SLL conv",
    "SLL conv circular",
    "SLL conv stride",
    "SLL conv circular stride",
    "SLL conv circular kernel > image",
    "CPL conv circular",
    "AOL conv",
    "AOL conv circular",
    "Cayley wide",
    "Cayley conv oblong",
    "SOC conv",
    "SOC conv circular",
    "UnitRows",
    "MaxMin conv",
    "GroupSort",
]
