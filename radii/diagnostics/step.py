"""What a step of SGD is expected to do to ``log K = sum_l log |W_l|``, the logarithm of the product of layers' norms.

After Luo et al. (arXiv 2506.18588): per unit of time, a step being ``eta``, a layer drifts by the mean gradient
(``mu``), is pushed by the batches' noise through the bend of its norm (``kappa``, never negative), and loses half of
what that noise diffuses (``lambda^2``). Plain SGD with replacement, without momentum. No forecast: it speaks of one
step from here. Formulas: docs/diagnostics.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from radii.diagnostics.lanczos import Estimate
from radii.diagnostics.layers import layers_of
from radii.diagnostics.objective import Objective
from radii.diagnostics.singular import LinearLayer

BATCHES = 64  # drawn for the figure that needs no gap


@dataclass(frozen=True, slots=True)
class LayerStep:
    """What a step does to the logarithm of one layer's norm.

    Attributes:
        log_norm: by a singular value decomposition: no bound.
        gap: from the largest singular value to the next, relative. Where it is under ``eta`` times the noise over s,
            ``kappa`` and ``second`` say nothing about a step, and are None.
        mu, kappa, lambda_squared: per unit of time.
        second: what the curve of the mean step adds, per unit of time: ``(eta/2) (q(g)/s - <J, g>^2/s^2)``.
        noise_effect: the mean over drawn batches b of ``log s(W - eta g_b) - log s(W - eta g)``, which is about
            ``eta (kappa - lambda^2/2)`` where that is known, and needs no gap.
    """

    name: str
    log_norm: float
    gap: float
    mu: float
    kappa: float | None
    lambda_squared: float
    second: float | None
    noise_effect: Estimate | None


@dataclass(frozen=True, slots=True)
class Step:
    """What a step is expected to do to log K: ``mean`` up to ``eta^3``, None where a layer's gap is too small.

    Attributes:
        lambda_squared: of log K as a whole, across layers: taking these for independent would err by up to twice.
        variance: of a step's change, ``eta lambda_squared``.
        noise_effect: as in `LayerStep`, of the sum.
    """

    eta: float
    batch_size: int
    samples: int
    layers: tuple[LayerStep, ...]
    lambda_squared: float
    mean: float | None
    variance: float
    noise_effect: Estimate | None


def sgd_step(
    objective: Objective,
    *,
    eta: float,
    batch_size: int,
    layers: Sequence[LinearLayer] | None = None,
    batches: int = BATCHES,
    seed: int = 0,
) -> Step:
    """A step ``W - eta g_b`` from an objective's own weights, ``g_b`` the mean gradient of a batch that is drawn with
    replacement from its inputs.

    Args:
        layers: of which K is the product; by default all (:func:`radii.diagnostics.layers.layers_of`).
        batches: drawn for ``noise_effect``; 0: none.

    Raises:
        ConstantNetwork: a layer is zero.
        ValueError: ``eta`` or the batch size is not positive.
    """
    if not eta > 0 or batch_size < 1 or batches < 0:
        raise ValueError("eta and the batch size must be positive, batches 0 or more")
    layers = layers_of(objective) if layers is None else layers
    mean = objective.split(objective.gradient())
    sums = {layer.name: [0.0, 0.0, 0.0] for layer in layers}  # q, <J, .>^2 and the square of each sample's noise
    together, count = 0.0, len(objective.x)
    for gradient in objective.sample_gradients():
        sample, joint = objective.split(gradient), 0.0
        for layer in layers:
            noise = sample[layer.name] - mean[layer.name]
            along = layer.top.along(noise)
            joint += along / layer.top.value
            for place, term in enumerate((layer.top.bend(noise), along**2, float(noise.square().sum()))):
                sums[layer.name][place] += term / count / batch_size
        together += joint**2 / count / batch_size
    effects, whole = _noise_effects(objective, layers, mean, eta, batch_size, batches, seed)
    found = tuple(
        _layer_step(layer, objective.labels[layer.name], mean[layer.name], sums[layer.name], eta, effect)
        for layer, effect in zip(layers, effects, strict=True)
    )
    return Step(
        eta=eta,
        batch_size=batch_size,
        samples=count,
        layers=found,
        lambda_squared=eta * together,
        mean=_mean(found, eta),
        variance=eta**2 * together,
        noise_effect=whole,
    )


def _layer_step(
    layer: LinearLayer, label: str, gradient: Tensor, sums: Sequence[float], eta: float, effect: Estimate | None
) -> LayerStep:
    top = layer.top
    bend, along, noise = sums
    resolved = top.gap * top.value > eta * math.sqrt(noise)
    slope = top.along(gradient)
    return LayerStep(
        name=label,
        log_norm=math.log(top.value),
        gap=top.gap,
        mu=-slope / top.value,
        kappa=eta * bend / (2 * top.value) if resolved else None,
        lambda_squared=eta * along / top.value**2,
        second=eta / 2 * (top.bend(gradient) / top.value - slope**2 / top.value**2) if resolved else None,
        noise_effect=effect,
    )


def _mean(layers: Sequence[LayerStep], eta: float) -> float | None:
    total = 0.0
    for layer in layers:
        if layer.kappa is None or layer.second is None:
            return None
        total += layer.mu + layer.kappa - layer.lambda_squared / 2 + layer.second
    return eta * total


def _noise_effects(
    objective: Objective,
    layers: Sequence[LinearLayer],
    mean: dict[str, Tensor],
    eta: float,
    batch_size: int,
    batches: int,
    seed: int,
) -> tuple[list[Estimate | None], Estimate | None]:
    if not batches:
        return [None] * len(layers), None
    generator = torch.Generator().manual_seed(seed)
    still = torch.tensor([math.log(layer.norm(layer.weight - eta * mean[layer.name])) for layer in layers]).double()
    rows = []
    for _ in range(batches):
        chosen = torch.randint(0, len(objective.x), (batch_size,), generator=generator)
        drawn = objective.split(objective.gradient(chosen))
        logs = [math.log(layer.norm(layer.weight - eta * drawn[layer.name])) for layer in layers]
        rows.append(torch.tensor(logs, dtype=torch.float64) - still)
    seen = torch.stack(rows)
    return [_estimate(column) for column in seen.T], _estimate(seen.sum(1))


def _estimate(values: Tensor) -> Estimate:
    error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return Estimate(float(values.mean()), error, len(values))
