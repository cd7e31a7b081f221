"""The Jacobian of the logits in the input, at given inputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from radii.diagnostics.bands import Bands

Logits = Callable[[Tensor], Tensor]

MOST_CLASSES = 64  # a Jacobian is written down row by row, a backward pass a class
STEPS = 60  # of power iteration: 7e-6 short where that was measured, 15 % after 5


def jacobian(logits: Logits, x: Tensor) -> Tensor:
    """(N, K, *shape) at inputs (N, *shape), by one backward pass a class."""
    point = x.detach().requires_grad_()
    with torch.enable_grad():
        outputs = logits(point).sum(0)
        if not outputs.requires_grad:
            return x.new_zeros((len(x), len(outputs), *x.shape[1:]))
        rows = [
            torch.autograd.grad(output, point, retain_graph=True, allow_unused=True, materialize_grads=True)[0]
            for output in outputs
        ]
    return torch.stack(rows, dim=1)


def power_norms(
    logits: Logits, x: Tensor, bands: Bands, generator: torch.Generator, *, steps: int = STEPS
) -> tuple[Tensor, Tensor]:
    """``|J P_b|``, (N, bands), and ``|J|``, (N,), at inputs (N, channels, *size), by power iteration: from below."""
    along, back = _products(logits, x)

    def power(back: Callable[[Tensor], Tensor]) -> Tensor:
        vectors = back(along(torch.randn(x.shape, generator=generator, dtype=torch.float64)))
        for _ in range(steps):
            vectors = back(along(_unit(vectors)))
        lengths: Tensor = along(_unit(vectors)).flatten(1).norm(dim=1)
        return lengths

    norms = [power(lambda u, band=band: bands.only(back(u), band)) for band in range(bands.count)]  # type: ignore[misc]
    return torch.stack(norms, dim=1), power(back)


def _products(logits: Logits, x: Tensor) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """``J v`` of v (N, *shape), and ``J^T u`` of u (N, ...), without J itself: the former is the derivative of the
    latter, which is linear in u."""
    point = x.detach().requires_grad_()
    with torch.enable_grad():
        outputs = logits(point)
        dual = torch.zeros_like(outputs).requires_grad_()
        (pulled,) = torch.autograd.grad(
            outputs, point, dual, create_graph=True, allow_unused=True, materialize_grads=True
        )

    def along(v: Tensor) -> Tensor:
        if not pulled.requires_grad:  # the answers do not depend on the input there
            return torch.zeros_like(outputs)
        return torch.autograd.grad(pulled, dual, v, retain_graph=True)[0]

    def back(u: Tensor) -> Tensor:
        return torch.autograd.grad(outputs, point, u, retain_graph=True, allow_unused=True, materialize_grads=True)[0]

    return along, back


def _unit(vectors: Tensor) -> Tensor:
    lengths = vectors.flatten(1).norm(dim=1).view(-1, *[1] * (vectors.ndim - 1))
    return torch.where(lengths > 0, vectors / lengths, 0.0)
