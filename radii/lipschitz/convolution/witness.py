"""A lower bound on a layer's norm from one input: the plane wave its torus favours, faded out before the borders.

A torus bound exceeds the layer's norm by an unknown amount. The fading wave is an input of the layer itself, on which
padding plays no part, so what the layer does to it is proved to be reached: it shows how loose the bound can be.
Formulas: docs/numerics.md 2.7.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from radii.lipschitz.convolution.geometry import Axis
from radii.lipschitz.rounding import UNIT, Lower, down, gamma, up

MOST_TAPS = 1024  # the work grows as their square


def wave_norm(
    kernel: npt.NDArray[np.float64], units: Sequence[int], layer: Sequence[Axis], turns: Sequence[float]
) -> Lower:
    """Lower bound on the norm of a layer, at a frequency.

    Args:
        kernel: (out, in * phases, *taps) of one group, stride 1 by polyphase, taps ``units`` apart.
        turns: the wave's frequency per axis, in turns per position.

    Returns:
        0 where no pixel is far enough from the borders.
    """
    taps = kernel.shape[2:]
    if math.prod(taps) > MOST_TAPS:
        return Lower(0.0)
    positions = [unit * np.arange(t) for unit, t in zip(units, taps, strict=True)]
    grid = np.stack([p.ravel() for p in np.meshgrid(*positions, indexing="ij")])  # (axes, T)
    phases = np.exp(2j * np.pi * (np.array(turns) @ grid % 1.0))
    flat = kernel.reshape(*kernel.shape[:2], -1) * phases  # (out, in, T)
    vector = np.linalg.svd(flat.sum(axis=2))[2][0].conj()
    answers = np.einsum("oit,i->ot", flat, vector)  # of each tap
    overlap = np.ones((len(phases), len(phases)))
    length = 0
    for axis, place in zip(layer, grid, strict=True):
        inside = axis.inside()
        if inside < 1:
            return Lower(0.0)
        fade = np.sin(np.pi * np.arange(1, inside + 1) / (inside + 1))
        products = np.correlate(fade, fade, "full")[inside - 1 :] / (fade @ fade)
        shift = np.abs(place[:, np.newaxis] - place)
        overlap *= np.append(products, 0.0)[np.minimum(shift, inside)]
        length += inside
    energy = float(((answers.conj().T @ answers).real * overlap).sum())
    terms = gamma(16 * (kernel.size + length) + 512) + 2 * 2**10 * UNIT * max(1, int(grid.max(initial=0)))
    lost = up(terms * float(np.linalg.norm(answers, axis=0).sum()) ** 2)
    size = float(np.vdot(vector, vector).real) * (1 + gamma(4 * len(vector) + 8))
    return Lower(max(0.0, down(math.sqrt(max(0.0, down(down(energy - lost) / size))))))
