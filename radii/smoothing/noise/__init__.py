"""Where the noise comes from: laws, generators, streams."""

import torch

from radii.norms import Law
from radii.smoothing.noise.base import Fill, Noise, Part
from radii.smoothing.noise.floating import Floating, Laplace, Uniform
from radii.smoothing.noise.fused import FUSED_GRIDS, FusedFloating, usable
from radii.smoothing.noise.gaussian import BoxMuller
from radii.smoothing.noise.grid import Grid, GridGaussian, GridLaplace, GridUniform, rounded

GRIDS: dict[Law, type[Grid]] = {"gaussian": GridGaussian, "uniform": GridUniform, "laplace": GridLaplace}


FLOATING: dict[Law, type[Floating]] = {"gaussian": BoxMuller, "uniform": Uniform, "laplace": Laplace}


def noise_of(law: Law, sigma: float, device: torch.device | str = "cpu") -> Noise:
    """The law's source for inputs that are on no grid, drawn on the device if that is CUDA and has what it takes."""
    here = FLOATING[law](sigma)
    if (device := torch.device(device)).type == "cuda" and usable(there := FusedFloating(here, device)):
        return there
    return here


def grid_of(law: Law, sigma: float, low: float, high: float, *, device: torch.device | str = "cpu") -> Grid:
    """The law's source on the grid, drawn where :func:`noise_of` draws. Raises ValueError as :class:`Grid`."""
    if (device := torch.device(device)).type == "cuda":
        there = FUSED_GRIDS[law](sigma, low, high, device=device)
        if usable(there):
            return there
    return GRIDS[law](sigma, low, high)


def gaussian(sigma: float, device: torch.device | str = "cpu") -> Noise:
    """N(0, sigma^2 I), for inputs that are on no grid."""
    return noise_of("gaussian", sigma, device)


__all__ = [
    "GRIDS",
    "Fill",
    "Grid",
    "GridGaussian",
    "GridLaplace",
    "GridUniform",
    "Laplace",
    "Noise",
    "Part",
    "Uniform",
    "gaussian",
    "grid_of",
    "noise_of",
    "rounded",
]
