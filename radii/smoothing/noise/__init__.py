"""Where the noise comes from: laws, generators, streams."""

import torch

from radii.norms import Law
from radii.smoothing.noise.base import Fill, Noise, Part
from radii.smoothing.noise.floating import Laplace, Uniform
from radii.smoothing.noise.gaussian import gaussian
from radii.smoothing.noise.grid import Grid, GridGaussian, GridLaplace, GridUniform, rounded

GRIDS: dict[Law, type[Grid]] = {"gaussian": GridGaussian, "uniform": GridUniform, "laplace": GridLaplace}


def noise_of(law: Law, sigma: float, device: torch.device | str = "cpu") -> Noise:
    """The law's source for inputs that are on no grid. Uniform and Laplace values are drawn on the CPU everywhere."""
    if law == "gaussian":
        return gaussian(sigma, device)
    return Uniform(sigma) if law == "uniform" else Laplace(sigma)


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
    "noise_of",
    "rounded",
]
