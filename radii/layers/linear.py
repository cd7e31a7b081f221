"""Linear layers scaled to a norm of at most 1, and the rows of a last layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from radii.layers.layer import SLACK, Affine, LipschitzLayer
from radii.layers.maps import Size, widened
from radii.layers.rescaling import column_factor


class WeightedLayer(LipschitzLayer):
    """``Q x + b`` with Q made of a parameter of a weight's shape.

    Args:
        inputs, outputs: values on the last axis, or channels of images.
        kernel_size: of a convolution; None: dense.
        bias: whether there is b.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel_size: int | None = None,
        stride: int = 1,
        padding_mode: str = "zeros",
        bias: bool = True,
        slack: float = SLACK,
    ) -> None:
        super().__init__(kernel_size, stride=stride, padding_mode=padding_mode, slack=slack)
        self.weight = nn.Parameter(torch.empty(self.on.shape(outputs, inputs)))
        nn.init.orthogonal_(self.weight)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def scaled(self) -> Tensor:
        """Q, as a weight; without the slack."""
        raise NotImplementedError

    def _scaled(self) -> Tensor:
        with torch.autocast(self.weight.device.type, enabled=False):
            return self.scaled() / (1 + self.slack)

    def forward(self, x: Tensor) -> Tensor:
        return self.on.apply(x, self._scaled().to(self.weight.dtype), self.bias)

    def plain(self, size: Size) -> nn.Module:
        return Affine(self.on, self._scaled(), self.bias)


class AOL(WeightedLayer):
    """Almost-orthogonal layer: every input has a factor that makes the norm of the weight at most 1.

    Valid for images of any size; a stride leaves some of the outputs out. (Prach and Lampert, ECCV 2022, arXiv
    2208.03160.)

    Args:
        steps: 1: as in the paper; more: spectral rescaling, tighter and slower.
    """

    def __init__(self, inputs: int, outputs: int, *, steps: int = 1, **settings: object) -> None:
        super().__init__(inputs, outputs, **settings)  # type: ignore[arg-type]
        self.steps = steps

    def scaled(self) -> Tensor:
        wide = widened(self.weight)
        factor = column_factor(wide, self.on, steps=self.steps)
        return wide * factor.reshape(1, -1, *[1] * (wide.ndim - 2))


class UnitRows(WeightedLayer):
    """A last dense layer whose rows have norm 1 (zero rows stay).

    What it proves behind 1-Lipschitz layers: each logit is 1-Lipschitz, and of a pair the difference is
    ``||w_i - w_j||``-Lipschitz, at most 2. The logits together are not: the norm of the matrix is up to
    ``sqrt(classes)``. Rows that are also orthogonal (:class:`radii.layers.Cayley` with no more outputs than inputs)
    make the logits 1-Lipschitz together, and every pair ``sqrt(2)``.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True, slack: float = SLACK) -> None:
        super().__init__(inputs, outputs, bias=bias, slack=slack)

    def scaled(self) -> Tensor:
        wide = widened(self.weight)
        squares = wide.square().sum(1, keepdim=True)
        return wide * squares.where(squares > 0, 1).rsqrt()
