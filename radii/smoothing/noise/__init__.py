"""Where the noise comes from: generators, streams."""

import torch

from radii.laws import LAWS
from radii.smoothing.noise.base import Fill, Noise, Part
from radii.smoothing.noise.floating import Floating
from radii.smoothing.noise.fused import FusedFloating, FusedGrid, usable
from radii.smoothing.noise.grid import Grid, rounded


def noise_of(law: str, sigma: float, device: torch.device | str = "cpu") -> Noise:
    """The law's source for inputs that are on no grid, drawn on the device if that is CUDA and has what it takes."""
    here = Floating(LAWS[law], sigma)
    fused = (device := torch.device(device)).type == "cuda" and LAWS[law].fused is not None
    if fused and usable(there := FusedFloating(here, device)):
        return there
    return here


def grid_of(law: str, sigma: float, low: float = 0.0, high: float = 1.0, *, device: torch.device | str = "cpu") -> Grid:
    """The law's source on the grid, drawn where :func:`noise_of` draws. Raises ValueError as :class:`Grid`."""
    if (device := torch.device(device)).type == "cuda":
        there = FusedGrid(LAWS[law], sigma, low, high, device=device)
        if usable(there):
            return there
    return Grid(LAWS[law], sigma, low, high)


def gaussian(sigma: float, device: torch.device | str = "cpu") -> Noise:
    """N(0, sigma^2 I), for inputs that are on no grid."""
    return noise_of("gaussian", sigma, device)


__all__ = ["Fill", "Grid", "Noise", "Part", "gaussian", "grid_of", "noise_of", "rounded"]
