"""Where the noise comes from: laws, generators, streams."""

from radii.smoothing.noise.base import Fill, Noise
from radii.smoothing.noise.gaussian import gaussian
from radii.smoothing.noise.grid import GridGaussian

__all__ = ["Fill", "GridGaussian", "Noise", "gaussian"]
