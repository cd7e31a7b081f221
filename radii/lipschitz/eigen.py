"""The largest eigenvalue of many Hermitian matrices, proved from above: propose, then verify by Cholesky.

An estimate proposes a level. Where the Cholesky factorisation of ``level I - H`` runs to its end in float64, ``H`` has
no eigenvalue above ``level`` but for a rounding term (Rump, Verification of positive definiteness, BIT 46, 2006). That
costs n^3/3 whatever the spectral gap, and a wrong estimate costs time, never soundness.
"""

import numpy as np
import torch
from scipy.sparse.linalg import ArpackError, eigsh

from radii.lipschitz.rounding import UNIT, Lower, Upper, down, gamma, sum_up, up

LANCZOS_FROM = 128  # below this order a full eigendecomposition is quicker than Lanczos
POWER_STEPS = 6  # enough to tell a promising block from the others


class LargestEigenvalue:
    """Bounds on the largest eigenvalue over all blocks seen, each block Hermitian and (nearly) positive semidefinite.

    Args:
        order: n, the size of every block.
        rtol: how far above the largest eigenvalue the verified level may lie, relative. A hundredth of it is aimed at.
        floor: a positive level to start from: the bound is sound wherever it lies, and never below it.
    """

    def __init__(self, order: int, *, rtol: float, floor: float) -> None:
        self.order = order
        self.rtol = max(rtol / 100, 64 * order * (order + 4) * UNIT)
        self.level = floor
        self.found = 0.0
        self.best = 0  # the block, counted over all chunks, that ``found`` comes from
        self.seen = 0
        self.factorisations = 0

    def add(self, blocks: torch.Tensor) -> None:
        """Takes float64 or complex128 blocks (B, n, n) on the CPU; only one triangle of each is trusted."""
        if blocks.device.type != "cpu" or blocks.dtype not in (torch.float64, torch.complex128):
            raise TypeError(f"certified arithmetic is float64 on the CPU, not {blocks.dtype} on {blocks.device}")
        step = self.rtol
        entries = torch.view_as_real(blocks) if blocks.is_complex() else blocks
        frobenius = torch.linalg.vector_norm(entries.flatten(1), dim=1) * (1 + gamma(2 * self.order**2 + 8))
        if not bool(torch.isfinite(frobenius).all()):
            raise ArithmeticError("a Gram block is not finite")
        # ||H||_F bounds the largest eigenvalue: the blocks it settles need no factorisation (all of them if n = 1)
        numbers = (frobenius > self.level).nonzero().flatten()
        blocks = blocks[numbers]
        numbers += self.seen
        self.seen += len(frobenius)
        proposed = self.found > 0  # else the level is the floor, and few blocks would pass
        while len(blocks):
            if proposed:
                open_ = ~self._verified(blocks)
                blocks, numbers = blocks[open_], numbers[open_]
                if not len(blocks):
                    return
            proposed = True
            candidate = _promising(blocks)
            witness = self._witness(blocks[candidate], int(numbers[candidate]), careful=step > self.rtol)
            if witness * (1 + self.rtol) > self.level:
                self.level = witness * (1 + self.rtol)
            else:  # rounding stands in the way: give it room
                self.level *= 1 + step
                step *= 2

    def _verified(self, blocks: torch.Tensor) -> torch.Tensor:
        shifted = -blocks
        shifted.diagonal(dim1=-2, dim2=-1).add_(self.level)
        factor, info = torch.linalg.cholesky_ex(shifted)
        self.factorisations += len(blocks)
        finite: torch.Tensor = torch.isfinite(factor.diagonal(dim1=-2, dim2=-1).real).all(dim=-1)
        success: torch.Tensor = (info == 0) & finite
        return success

    def _witness(self, block: torch.Tensor, number: int, *, careful: bool) -> float:
        """A Rayleigh quotient of the block near its largest eigenvalue; raises ``found``."""
        vector = top_eigenvector(block, tolerance=self.rtol / 8, careful=careful)
        quotient = rayleigh(block, vector)
        slack = 4 * gamma(2 * self.order + 16) * float(torch.linalg.matrix_norm(block))
        proved = down(quotient - up(slack))
        if proved > self.found:
            self.found, self.best = proved, number
        return quotient

    def upper(self, error: float) -> Upper:
        """Bound on the largest eigenvalue of the true blocks, each within ``error`` (spectral norm) of the one given.

        Rump's term for real blocks is ``gamma_{n+1} n level``; twice ``gamma_{2n+8}`` covers complex arithmetic,
        the division by a pivot done as a product, and the rounding of the shifted diagonal.
        """
        return sum_up((self.level, up(2 * gamma(2 * self.order + 8) * self.order * self.level), error))

    def lower(self, error: float) -> Lower:
        """Bound from below, under the same ``error``."""
        return Lower(max(0.0, down(self.found - error)))


def rayleigh(block: torch.Tensor, vector: torch.Tensor) -> float:
    """``v^H H v / v^H v`` in float64 arithmetic."""
    return float(torch.vdot(vector, block @ vector).real / torch.vdot(vector, vector).real)


def top_eigenvector(block: torch.Tensor, *, tolerance: float, careful: bool) -> torch.Tensor:
    """An eigenvector of a Hermitian block for its largest eigenvalue, by Lanczos if it is large: an estimate."""
    order = len(block)
    if order >= LANCZOS_FROM and not careful:
        start = np.random.default_rng(order).standard_normal(order)
        try:
            _, found = eigsh(block.numpy(), k=1, which="LA", v0=start, tol=tolerance, maxiter=20)
            return torch.from_numpy(np.ascontiguousarray(found[:, 0]))
        except ArpackError:
            pass  # close eigenvalues: the full decomposition does not mind
    vectors: torch.Tensor = torch.linalg.eigh(block)[1]
    return vectors[:, -1]


def _promising(blocks: torch.Tensor) -> int:
    """The block with the largest Rayleigh quotient after a few power steps."""
    if len(blocks) == 1:
        return 0
    start = torch.from_numpy(np.random.default_rng(0).standard_normal((blocks.shape[-1], 1)))
    vectors = start.to(blocks.dtype).expand(len(blocks), -1, -1)
    for _ in range(POWER_STEPS):
        vectors = torch.nn.functional.normalize(blocks @ vectors, dim=1)
    return int(torch.linalg.vector_norm(blocks @ vectors, dim=1).argmax())
