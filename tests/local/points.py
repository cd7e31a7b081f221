"""Points of balls, drawn so that many lie at the border and at corners, and values of all activations there."""

import numpy as np
import torch

from radii.local.network import Network
from radii.norms import Norm


def points_within(x: np.ndarray, eps: float, norm: Norm, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, *shape) points within ``eps`` of one input, most of them at that distance less a rounding."""
    size = x.size
    draws = rng.standard_normal((count, size))
    draws[::3] = np.sign(draws[::3])
    draws[1::3] *= rng.random((len(draws[1::3]), size)) < 2 / size
    order = {"l2": 2, "linf": np.inf, "l1": 1}[norm]
    lengths = np.linalg.norm(draws, order, axis=1)
    scale = np.where(rng.random(count) < 0.5, 1.0, rng.random(count)) * (1 - 1e-12)
    away = draws * (eps * scale / np.where(lengths > 0, lengths, 1.0))[:, None]
    return x + away.reshape(count, *x.shape)


def activations(network: Network, points: np.ndarray) -> dict[str, torch.Tensor]:
    """What every step makes of inputs, in float64."""
    values = {network.relaxed.input: torch.from_numpy(points)}
    with torch.no_grad():
        for step in network.steps:
            given = [values[name] for name in step.node.inputs]
            values[step.node.output] = step.operator.run(given, step.arrays)
    return values
