"""The largest singular value of a layer as a function of its weights: value, slope and bend.

A layer is a matrix that is linear in its weights E. With the singular triples ``(s_k, u_k, v_k)`` at the weights W:
``s1`` has the slope ``Re u1^H E v1`` along E, and its second derivative ``q(E)`` is never negative, the largest
singular value being convex. Formulas: docs/diagnostics.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse.linalg import LinearOperator, cg, svds
from torch import Tensor

from radii.diagnostics.errors import ConstantNetwork

MOST_ENTRIES = 2**20  # of a matrix that is decomposed as a whole, in a second
ACCURACY = 1e-10  # relative, of the equations that give the bend of a larger one

Apply = Callable[[Tensor, Tensor], Tensor]
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LinearLayer:
    """A layer as a matrix that is linear in its weights.

    Attributes:
        name: of the weights, as the objective knows them.
        apply: weights and vectors (B, n) to what the layer makes of them, (B, m), without its bias.
        inputs, outputs: n and m.
        circular: the matrix is one of those that a circular convolution is made of, and complex.
    """

    name: str
    weight: Tensor
    apply: Apply
    inputs: int
    outputs: int
    circular: bool = False

    @property
    def small(self) -> bool:
        """Whether it is decomposed as a whole."""
        return self.inputs * self.outputs <= MOST_ENTRIES

    def matrix(self, weight: Tensor) -> Tensor:
        """(m, n) with other weights."""
        dtype = torch.complex128 if self.circular else torch.float64
        with torch.no_grad():
            return self.apply(weight, torch.eye(self.inputs, dtype=dtype)).T

    def norm(self, weight: Tensor) -> float:
        """The largest singular value with other weights."""
        if self.small:
            return float(torch.linalg.matrix_norm(self.matrix(weight), 2))
        start = self.top.left if self.outputs <= self.inputs else self.top.right  # of the smaller side, as svds goes
        found = svds(operator_of(self, weight), k=1, v0=start.numpy(), return_singular_vectors=False)
        return float(found[0])

    @cached_property
    def top(self) -> TopSingular:
        """At its own weights. Raises `ConstantNetwork` where they are 0."""
        if not bool(self.weight.any()):
            raise ConstantNetwork(f"the weights {self.name} are zero, so the logarithm of their norm is not finite")
        return Decomposed(self) if self.small else Iterated(self)


class TopSingular(ABC):
    """The largest singular value at a layer's own weights.

    Attributes:
        value: ``s1``.
        gap: ``(s1 - s2)/s1``; 1 of a single column or row.
        left, right: ``u1``, (m,), and ``v1``, (n,).
    """

    value: float
    gap: float
    left: Tensor
    right: Tensor

    def __init__(self, layer: LinearLayer) -> None:
        self.layer = layer

    @cached_property
    def slope(self) -> Tensor:
        """J, of the weights' shape: ``s1`` changes by ``<J, E>``."""
        weight = self.layer.weight.clone().requires_grad_()
        with torch.enable_grad():
            made = self.layer.apply(weight, self.right[None])[0]
            (found,) = torch.autograd.grad((self.left.conj() * made).sum().real, weight)
        return found

    def along(self, change: Tensor) -> float:
        """``<J, E>``."""
        return float((self.slope * change).sum())

    def images(self, change: Tensor) -> tuple[Tensor, Tensor]:
        """``E v1`` and ``E^H u1``."""
        first = self.right.clone().requires_grad_()
        with torch.enable_grad():
            made = self.layer.apply(change, first[None])[0]
            (back,) = torch.autograd.grad((self.left.conj() * made).sum().real, first)
        return made.detach(), back

    @abstractmethod
    def bend(self, change: Tensor) -> float:
        """``q(E)``; not finite where the two largest singular values are equal and E couples them."""


class Decomposed(TopSingular):
    """By all singular triples."""

    def __init__(self, layer: LinearLayer) -> None:
        super().__init__(layer)
        u, self.s, vh = torch.linalg.svd(layer.matrix(layer.weight), full_matrices=False)
        self.u, self.v = u, vh.mH
        self.left, self.right, self.value = self.u[:, 0], self.v[:, 0], float(self.s[0])
        self.gap = 1 - float(self.s[1]) / self.value if len(self.s) > 1 else 1.0

    def bend(self, change: Tensor) -> float:
        made, back = self.images(change)
        a, b, s1 = self.u.mH @ made, back.conj() @ self.v, self.s[0]
        rest = made.abs().square().sum() - a.abs().square().sum() + back.abs().square().sum() - b.abs().square().sum()
        squares, mixed = a[1:].abs().square() + b[1:].abs().square(), (a[1:] * b[1:]).real
        coupled = (s1 * squares + 2 * self.s[1:] * mixed) / (s1.square() - self.s[1:].square())
        turned = a[0].imag.square() if self.layer.circular else 0.0
        return float(coupled.sum() + (rest.clamp(min=0) + turned) / s1)


class Iterated(TopSingular):
    """By products with a real matrix too large to be written down: Lanczos for two triples, and for the bend
    ``q(E) = w^T (s1 - M)^+ w`` with ``M = [0 W; W^T 0]`` and ``w = (E v1, E^T u1)``, by conjugate gradients."""

    def __init__(self, layer: LinearLayer) -> None:
        super().__init__(layer)
        self._operator = operator_of(layer, layer.weight)
        start = np.random.default_rng(0).standard_normal(min(self._operator.shape))
        u, s, vt = svds(self._operator, k=2, v0=start)
        order = np.argsort(s)[::-1]
        self.left, self.right = torch.from_numpy(u[:, order[0]].copy()), torch.from_numpy(vt[order[0]].copy())
        self.value = float(s[order[0]])
        self.gap = 1 - float(s[order[1]]) / self.value

    def bend(self, change: Tensor) -> float:
        made, back = self.images(change)
        top = np.concatenate([self.left.numpy(), self.right.numpy()]) / np.sqrt(2)
        w = np.concatenate([made.numpy(), back.numpy()])
        w = w - top * (top @ w)
        rows, size = len(made), len(w)

        def product(y: Vector) -> Vector:
            y = y - top * (top @ y)
            image = np.concatenate([self._operator.matvec(y[rows:]), self._operator.rmatvec(y[:rows])])
            image = self.value * y - image
            left: Vector = image - top * (top @ image)
            return left

        solved, failed = cg(LinearOperator((size, size), matvec=product), w, rtol=ACCURACY, maxiter=10 * size)
        return float("nan") if failed else float(w @ solved)


def operator_of(layer: LinearLayer, weight: Tensor) -> LinearOperator:
    """The layer's matrix with these weights, by its products."""
    point = torch.zeros((1, layer.inputs), dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        made = layer.apply(weight, point)

    def matvec(vector: Vector) -> Vector:
        with torch.no_grad():
            found: Vector = layer.apply(weight, torch.from_numpy(vector.reshape(1, -1)))[0].numpy()
        return found

    def rmatvec(vector: Vector) -> Vector:
        (back,) = torch.autograd.grad(made, point, torch.from_numpy(vector.reshape(1, -1)), retain_graph=True)
        found: Vector = back[0].numpy()
        return found

    return LinearOperator((layer.outputs, layer.inputs), matvec=matvec, rmatvec=rmatvec, dtype=np.float64)
