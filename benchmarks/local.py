"""Local certificates against auto_LiRPA, in one run, on one thread:

AUTO_LIRPA=CHECKOUT OMP_NUM_THREADS=1 python -m benchmarks.local
"""

import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from radii.graph import Graph, to_module

Norm = Literal["l2", "linf"]
FINE = 1.002


class Peer:
    """auto_LiRPA's bounds of the margins, in float32, which is how it runs."""

    def __init__(self, graph: Graph, **options: Any) -> None:
        import auto_LiRPA
        from auto_LiRPA.operators.convolution import BoundConv

        BoundConv.interval_propagate = _patched(BoundConv.interval_propagate)
        self.module = to_module(graph)
        self.classes = graph.num_classes
        self.lirpa = auto_LiRPA
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.bounded = auto_LiRPA.BoundedModule(
                self.module, torch.zeros(1, *graph.input_shape), bound_opts={"optimize_bound_args": options}
            )

    def margins(self, x: Tensor, y: Tensor, eps: Tensor, norm: Norm, method: str) -> Tensor:
        eye = torch.eye(self.classes)
        C = eye[y][:, None] - eye
        C = C[~eye[y].bool()].view(len(x), self.classes - 1, self.classes)
        if norm == "l2":
            ball = self.lirpa.PerturbationLpNorm(norm=2.0, eps=eps[:, None])
        else:
            e = eps.view(-1, *[1] * (x.dim() - 1))
            ball = self.lirpa.PerturbationLpNorm(norm=np.inf, x_L=x - e, x_U=x + e)
        lower, _ = self.bounded.compute_bounds(
            x=(self.lirpa.BoundedTensor(x, ball),), C=C, method=method, bound_upper=False
        )
        return lower.detach()


def _patched(original):
    from auto_LiRPA.bound_ops import Interval

    def interval_propagate(self, *v, C=None):
        norm, eps = Interval.get_perturbation(v[0])[:2]
        if norm != 2:
            return original(self, *v, C=C)
        weight = v[1][0]
        deviation = weight.square().sum((1, 2, 3)).sqrt() * eps
        center = self.F_conv(
            v[0][0], weight, v[2][0] if self.has_bias else None, self.stride, self.padding, self.dilation, self.groups
        )
        return center - deviation[..., None, None], center + deviation[..., None, None]

    return interval_propagate


def search(proved: Callable[[Tensor], Tensor], floor: Tensor, ceiling: Tensor, finest: float):
    low, high = floor.clone(), ceiling.clone()
    calls = 0
    while bool((high > low * finest).any()):
        middle = (low * high).sqrt()
        yes = proved(middle.float()).double() > 0
        low, high = torch.where(yes, middle, low), torch.where(yes, high, middle)
        calls += 1
    return low, calls
