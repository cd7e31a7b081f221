"""What is linear in the input: its forms on the input, how far it moves, and how little a form on it can be.

Formulas: docs/numerics.md 11.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from radii.lipschitz.network.linear import NotApplicable
from radii.lipschitz.network.narrow import narrowed
from radii.local.network import FEWER, Network
from radii.local.region import Region, dual_norm
from radii.local.relaxation import Interval, Linear
from radii.local.slack import STEP, TINY, flat_dot, gamma, raised
from radii.norms import Norm

REACHES = 2**27  # entries of all forms that are taken back once
CHUNK = 1024
DENSE = 2**23  # entries of a matrix that is kept: 64 MiB


def affine_intervals(network: Network, lo: Tensor, hi: Tensor) -> dict[str, Interval]:
    """Of what is linear in the input, (N, *input_shape) between lo and hi, by interval arithmetic."""
    found = {network.relaxed.input: Interval(lo, hi)}
    for step in network.steps:
        if step.node.output in network.affine:
            found[step.node.output] = Linear(step, [found[name] for name in step.node.inputs]).output
    return found


def on_input(network: Network, name: str, forms: Tensor) -> tuple[Tensor, Tensor]:
    """Forms (1, R, *shape) on what is linear in the input as forms on the input (R, *input_shape), and (R,) how much of
    what they say of a change of at most 1 in every entry of the input rounding may have lost."""
    start, device = network.relaxed.input, network.device
    ends = torch.ones((1, *network.relaxed.input_shape), dtype=torch.float64, device=device)
    sizes = affine_intervals(network, -ends, ends)
    pending, lost = {name: forms}, forms.new_zeros(forms.shape[1])
    for step in reversed(network.steps[: network.position.get(name, -1) + 1]):
        form = pending.pop(step.node.output, None)
        if form is None:
            continue
        given = [sizes[source] for source in step.node.inputs]
        lost = lost + flat_dot(form.abs(), Linear(step, given).slack)[0]
        for source, part in zip(step.node.inputs, step.transposed(form), strict=True):
            if part is not None:
                if source in pending:
                    part = pending[source] + part
                    lost = lost + STEP * flat_dot(part.abs(), sizes[source].size())[0]
                pending[source] = part
                lost = lost + TINY * (1 + sizes[source].size().sum())
    made = pending.get(start, forms.new_zeros(1, forms.shape[1], *network.relaxed.input_shape))
    return made[0], raised(lost * (1 + gamma(len(network.steps))))


def _all_rows(network: Network, name: str) -> tuple[Tensor, Tensor]:
    """The same of the entries of an activation, one by one: (size, width) and (size,)."""
    shape = network.relaxed.shapes[name]
    size = math.prod(shape)
    eye = torch.eye(size, dtype=torch.float64, device=network.device).reshape(1, size, *shape)
    parts = [on_input(network, name, part) for part in torch.split(eye, CHUNK, dim=1)]
    return torch.cat([part.flatten(1) for part, _ in parts]), torch.cat([lost for _, lost in parts])


def affine_reach(network: Network, name: str, norm: Norm) -> Tensor | None:
    """(*shape) what each entry of an activation that is linear in the input moves by, at most, where the input moves by
    1; None: that takes too much."""
    shape = network.relaxed.shapes[name]
    size, width = math.prod(shape), math.prod(network.relaxed.input_shape)
    if (name, norm) not in network.kept:
        found = None
        if size * max(size, width) <= REACHES:
            with torch.no_grad():
                rows, lost = _all_rows(network, name)
                found = raised(dual_norm(rows[None], norm)[0] * (1 + gamma(width)) + lost).reshape(shape)
        network.kept[name, norm] = found
    made: Tensor | None = network.kept[name, norm]
    return made


@dataclass(frozen=True, eq=False)
class FirstMap:
    """``J x + b``, the one activation that is linear in the input and read by what is not.

    Forms on it are forms on ``J x``, all that is left of the input; where their l2 norm alone is asked for, a square
    factor of the Gram matrix is as good as J.

    Attributes:
        matrix: (m, n) J, about.
        factor: (m, m) L with ``J J^T <= L L^T``; None: J is no larger, or has none.
        slack: (m,) by how much at most a form's entry misses where each entry of the input moves by 1.
    """

    name: str
    matrix: Tensor
    factor: Tensor | None
    slack: Tensor

    @classmethod
    def of(cls, network: Network) -> FirstMap | None:
        """None: there is no such activation, or a product with its matrix takes longer than its steps do."""
        read = {name for step in network.steps if not step.is_linear for name in step.node.inputs} & network.affine
        if len(read) != 1 or network.relaxed.input in read:
            return None
        [name] = read
        size, width = math.prod(network.relaxed.shapes[name]), math.prod(network.relaxed.input_shape)
        steps = network.steps[: network.position[name] + 1]
        if size * width > min(DENSE, FEWER * sum(step.multiply_adds for step in steps)):
            return None
        with torch.no_grad():
            matrix, slack = _all_rows(network, name)
        factor = None
        if size < width:
            try:
                factor = torch.from_numpy(narrowed(matrix.cpu().numpy(), 0.0)).to(network.device)
            except NotApplicable:
                factor = None
        largest = matrix.abs().sum(1)
        if factor is not None:
            largest = torch.maximum(largest, factor.abs().sum(1))
        # a computed product with J (or L) errs, too
        slack = raised(slack + gamma(size + width) * largest)
        return cls(name, matrix, factor, slack) if bool(slack.isfinite().all()) else None

    def least(self, region: Region, centre: Interval, forms: Tensor) -> Tensor:
        """(N, R) what forms (N or 1, R, *shape) are at least on a region; ``centre``: what is made of its centre."""
        rows, size = forms.flatten(2), self.matrix.shape[0]
        mid = (centre.lo / 2 + centre.hi / 2).flatten(1)
        half = raised(torch.maximum(centre.hi.flatten(1) - mid, mid - centre.lo.flatten(1)))
        if self.factor is not None and region.norm == "l2" and not region.boxed:
            away = region.away(rows @ self.factor)
        else:
            away = region.away((rows @ self.matrix).reshape(*rows.shape[:2], *region.centre.shape[1:]))
        missed = raised(half + region.farthest()[:, None] * self.slack + gamma(size) * mid.abs())
        missed = missed * (1 + gamma(size))
        return flat_dot(rows, mid) - away - flat_dot(rows.abs(), missed)


def first_map(network: Network) -> FirstMap | None:
    """That of a network, which is found once."""
    key = "first map", ""
    if key not in network.kept:
        network.kept[key] = FirstMap.of(network)
    found: FirstMap | None = network.kept[key]
    return found
