"""Multipliers for the chain of matrix inequalities (:mod:`radii.lipschitz.eclipse`): all of this only proposes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from radii.lipschitz.layers import Layer

STEPS = 20
PATIENCE = 5
GAIN = 0.01  # in log L^2: half a percent of L
LARGE = 256  # order from which a proposal's eigenvalue comes from power iteration
POWER_STEPS = 40
MOST_DESCENT = 2**33  # operations of all steps of a network: less than half a second

Objective = Callable[[torch.Tensor], torch.Tensor]


def norm_of(final: torch.Tensor) -> torch.Tensor:
    """The logarithm of ``L^2``."""
    return _top(final).log()


def mean_pair(final: torch.Tensor) -> torch.Tensor:
    """The mean logarithm of ``L_ij^2`` over the pairs."""
    gram = final[0]
    diagonal = gram.diagonal()
    squares = diagonal[:, None] + diagonal - 2 * gram
    upper = torch.triu_indices(len(gram), len(gram), 1)
    apart: torch.Tensor = squares[upper[0], upper[1]].clamp_min(1e-12 * float(diagonal.detach().max()))
    return apart.log().mean()


def fast(layers: Sequence[Layer]) -> list[torch.Tensor]:
    """The multipliers of ECLipsE-Fast."""
    with torch.no_grad():
        return _recursion(layers, [_parameter(layer) for layer in layers if layer.slopes is not None])[2]


def _parameter(layer: Layer) -> tuple[torch.Tensor, torch.Tensor]:
    """Logarithms of the multipliers up to a factor, and the factor as a share of `_most`, as a logit."""
    width = layer.blocks.shape[1]
    return torch.zeros(width, dtype=torch.float64), torch.tensor(_start(layer), dtype=torch.float64)


def descended(layers: Sequence[Layer], objective: Objective, steps: int) -> list[torch.Tensor]:
    """Multipliers from gradient descent (Adam) on the logarithms of all of them, from those of ECLipsE-Fast on.

    It ends early where `PATIENCE` steps gained less than `GAIN`.
    """
    parameters = [_parameter(layer) for layer in layers if layer.slopes is not None]
    flat = [part.requires_grad_() for parameter in parameters for part in parameter]
    means, squares = [torch.zeros_like(part) for part in flat], [torch.zeros_like(part) for part in flat]
    best, values = fast(layers), [math.inf]
    for step in range(1, steps + 1):
        with torch.enable_grad():
            final, exponent, multipliers = _recursion(layers, parameters)
            value = objective(final) + exponent * math.log(4)
        here = float(value.detach())
        if not math.isfinite(here):
            break
        if here < values[-1]:
            best = [m.detach() for m in multipliers]
        values.append(min(here, values[-1]))
        if step > PATIENCE and values[-1] > values[-1 - PATIENCE] - GAIN:
            break
        rate = 0.15 * (1 - (step - 1) / steps) + 0.005
        for part, slope, mean, square in zip(flat, torch.autograd.grad(value, flat), means, squares, strict=True):
            mean.lerp_(slope, 0.1)
            square.lerp_(slope**2, 0.001)
            unit = (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-6)  # more than rounding
            part.data -= rate * unit
    return best


def affordable_steps(layers: Sequence[Layer], chains: int) -> int:
    """How many steps of descent are worth their time: counted, not measured, so that an answer can be repeated.

    Args:
        chains: the number of those that share the time.
    """
    return min(STEPS, MOST_DESCENT // (chains * sum(_work(layer, first=i == 0) for i, layer in enumerate(layers))))


def _work(layer: Layer, *, first: bool) -> int:
    """Operations that one step spends on a layer, about."""
    count, m, n = layer.blocks.shape
    shifted = layer.slopes is not None and layer.slopes[0] * layer.slopes[1] != 0
    products = m * m * (m + n) + (0 if first and not shifted else n * n * (m + n))
    return 8 * count * products * (4 if layer.blocks.is_complex() else 1) * (2 if shifted else 1)


def _most(layer: Layer) -> float:
    """What ``lmax(T^(1/2) W X^{-1} W^H T^(1/2))`` must lie below."""
    assert layer.slopes is not None
    a, b = layer.slopes
    return 4 / (b - a) ** 2


def _start(layer: Layer) -> float:
    """ECLipsE-Fast's share of it, as a logit."""
    assert layer.slopes is not None
    a, b = layer.slopes
    share = (b - a) / (2 * max(abs(a), abs(b)))
    return math.log(share / (1 - share))


def _recursion(
    layers: Sequence[Layer], parameters: Sequence[tuple[torch.Tensor, torch.Tensor]]
) -> tuple[torch.Tensor, int, list[torch.Tensor]]:
    """The last ``W X^{-1} W^H``, to be taken times a power of 4, and the multipliers, without certificate."""
    gram: torch.Tensor | None = None  # the unit matrix
    multipliers: list[torch.Tensor] = []
    exponent = 0
    given = iter(parameters)
    for layer in layers:
        made = _sandwich(layer, gram)
        if layer.slopes is None:
            return made, exponent, multipliers
        a, b = layer.slopes
        shape, logit = next(given)
        root = (shape / 2).exp().to(made.real.dtype)
        top = _top(root[:, None] * made * root)
        multiplier = _most(layer) * torch.sigmoid(logit) * root**2 / top
        if a * b:
            unit = torch.eye(layer.blocks.shape[2], dtype=layer.blocks.dtype)
            shift = a * b * (layer.blocks.mH @ (multiplier[:, None] * layer.blocks))
            made = _sandwich(layer, (unit if gram is None else gram) + shift)
        gram = torch.diag(multiplier)[None] - ((a + b) / 2) ** 2 * multiplier[:, None] * made * multiplier
        multipliers.append(multiplier)
        power = power_of(multiplier)
        gram = gram * 4.0**-power
        exponent -= power
    assert gram is not None
    return torch.linalg.inv(gram), exponent, multipliers


def power_of(multiplier: torch.Tensor) -> int:
    """X lies below T: taken times ``4**-power`` it is of order 1."""
    return math.frexp(float(multiplier.detach().max()))[1] // 2


def _top(gram: torch.Tensor) -> torch.Tensor:
    """The largest eigenvalue of all blocks; of large ones that need no gradient, from power iteration."""
    if gram.requires_grad or gram.shape[-1] <= LARGE:
        with torch.no_grad():  # a block and a vector suffice for the gradient
            steepest = int(torch.linalg.eigvalsh(gram)[:, -1].argmax()) if len(gram) > 1 else 0
            vector = torch.linalg.eigh(gram[steepest])[1][:, -1]
        return torch.vdot(vector, gram[steepest] @ vector).real
    vectors = torch.randn((gram.shape[-1], 2), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    vectors = vectors.to(gram.dtype).expand(len(gram), -1, -1)
    for _ in range(POWER_STEPS):
        vectors = torch.nn.functional.normalize(gram @ vectors, dim=1)
    estimate: torch.Tensor = torch.linalg.vector_norm(gram @ vectors, dim=1).max()
    return estimate


def _sandwich(layer: Layer, gram: torch.Tensor | None) -> torch.Tensor:
    half = layer.blocks.mH
    if gram is not None:
        factor = torch.linalg.cholesky(gram)
        half = half.expand(max(len(factor), len(half)), -1, -1)
        half = torch.linalg.solve_triangular(factor, half, upper=False)
    if layer.gathers:
        half = torch.cat([half.real, half.imag], dim=1).flatten(0, 1)[None]
    return half.mH @ half
