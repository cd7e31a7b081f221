"""Deterministic bounds: spectral norms of layers, Lipschitz constants of networks, certified radii.

Needs torch, numpy and SciPy alone. Every bound is proved, rounding included: an estimate only proposes.
"""

from radii.lipschitz.conv import conv_norm
from radii.lipschitz.matrix import NormBound, matrix_norm
from radii.lipschitz.rounding import NonFiniteWeights

__all__ = ["NonFiniteWeights", "NormBound", "conv_norm", "matrix_norm"]
