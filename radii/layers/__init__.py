"""1-Lipschitz layers, to build networks whose Lipschitz constant is 1 whatever they learn. Needs torch.

    model = nn.Sequential(AOL(1, 16, kernel_size=3), SLL(16, 32, kernel_size=3), nn.Flatten(), Cayley(1024, 10))
    ... train it as any other ...
    torch.onnx.export(plain(model, x), (x,), "model.onnx")  # plain layers, whose bound is proved from the file alone

A layer without ``kernel_size`` is dense. That its constant is at most 1 is a theorem on real numbers; what a
certificate rests on is :func:`radii.lipschitz.network_bound` of the exported file.
"""

from radii.layers.layer import plain
from radii.layers.linear import AOL, UnitRows
from radii.layers.maps import Convolution, Dense
from radii.layers.orthogonal import SOC, Cayley, cayley
from radii.layers.rescaling import column_factor, row_bound
from radii.layers.residual import CPL, SLL, residual
from radii.layers.sorting import GroupSort, MaxMin

__all__ = [
    "AOL",
    "CPL",
    "SLL",
    "SOC",
    "Cayley",
    "Convolution",
    "Dense",
    "GroupSort",
    "MaxMin",
    "UnitRows",
    "cayley",
    "column_factor",
    "plain",
    "residual",
    "row_bound",
]
