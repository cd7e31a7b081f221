"""The largest eigenvalue of many Hermitian matrices, proved from above: propose, then verify by Cholesky.

An estimate proposes a level. Where the Cholesky factorisation of ``level I - H`` runs to its end in float64, ``H`` has
no eigenvalue above ``level`` but for a rounding term (Rump, Verification of positive definiteness, BIT 46, 2006). That
costs n^3/3 whatever the spectral gap, and a wrong estimate costs time, never soundness.

The factorisation is SciPy's OpenBLAS: open source, substitution in every triangular solve (so that the textbook
backward error holds in any blocking), and about twice as quick as MKL where this was measured.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import blas, eigh, eigh_tridiagonal, lapack

from radii.lipschitz.rounding import UNIT, Lower, Upper, down, gamma, sum_up, up

Block = npt.NDArray[np.float64] | npt.NDArray[np.complex128]

LOOP_FROM = 32  # below this order torch factorises a stack quicker than SciPy one block after the other
LANCZOS_FROM = 128  # below this order a full eigendecomposition is quicker than Lanczos
MOST_STEPS = 256  # of Lanczos: its basis is orthogonalised in full, at a cost that grows as the square
CHECK_EVERY = 12  # steps of Lanczos
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
        self.rtol = max(rtol / 100, 8 * order * (order + 4) * UNIT)
        self.most = 1.5 * rtol
        self.level = floor
        self.found = 0.0
        self.best = 0  # the block, counted over all chunks, that ``found`` comes from
        self.seen = 0
        self.factorisations = 0

    def add(self, blocks: torch.Tensor) -> None:
        """Takes float64 or complex128 blocks (B, n, n) on the CPU; one triangle of each is trusted.

        Raises:
            ArithmeticError: a block is not finite.
        """
        if blocks.device.type != "cpu" or blocks.dtype not in (torch.float64, torch.complex128):
            raise TypeError(f"certified arithmetic is float64 on the CPU, not {blocks.dtype} on {blocks.device}")
        entries = torch.view_as_real(blocks) if blocks.is_complex() else blocks
        frobenius = torch.linalg.vector_norm(entries.flatten(1), dim=1) * (1 + gamma(2 * self.order**2 + 8))
        if not bool(torch.isfinite(frobenius).all()):
            raise ArithmeticError("a Gram block is not finite")
        # ||H||_F bounds the largest eigenvalue: the blocks it settles need no factorisation (all of them if n = 1)
        numbers = (frobenius > self.level).nonzero().flatten()
        self._settle(blocks[numbers].numpy(), (numbers + self.seen).numpy())
        self.seen += len(blocks)

    def add_triangle(self, block: Block) -> None:
        """Takes one finite block (n, n) in Fortran order, of which the upper triangle is never read."""
        self._settle(block.T[np.newaxis], np.array([self.seen]))
        self.seen += 1

    def _settle(self, blocks: Block, numbers: npt.NDArray[np.int64]) -> None:
        """Raises the level until every block (B, n, n) is verified; only their upper triangles are read if B = 1."""
        step = self.rtol
        proposed: set[int] = set()
        verify = self.found > 0  # else the level is the floor, and few blocks would pass
        while len(blocks):
            if verify:
                open_ = ~self._verified(blocks)
                blocks, numbers = blocks[open_], numbers[open_]
                if not len(blocks):
                    return
            verify = True
            candidate = _promising(blocks)
            number = int(numbers[candidate])
            if number in proposed and self.found * (1 + self.most) > self.level:
                self.level = self.found * (1 + self.most)  # a wider margin costs less than a better estimate
                continue
            quotient, doubt = self._witness(blocks[candidate].T, number, careful=number in proposed)
            level = quotient * (1 + step + 4 * doubt)
            proposed.add(number)
            if level <= self.level:  # rounding stands in the way: give it room
                step *= 2
                level = self.level * (1 + step)
            self.level = level

    def _verified(self, blocks: Block) -> npt.NDArray[np.bool]:
        self.factorisations += len(blocks)
        if len(blocks) > 1 and self.order < LOOP_FROM:
            shifted = torch.from_numpy(-blocks)
            shifted.diagonal(dim1=-2, dim2=-1).add_(self.level)
            factor, info = torch.linalg.cholesky_ex(shifted)
            verified: torch.Tensor = (info == 0) & factor.diagonal(dim1=-2, dim2=-1).real.isfinite().all(dim=-1)
            return verified.numpy()
        return np.array([cholesky_succeeds(self.level, block.T) for block in blocks])

    def _witness(self, block: Block, number: int, *, careful: bool) -> tuple[float, float]:
        """A Rayleigh quotient of the block near its largest eigenvalue, and how near it seems; raises ``found``."""
        vector, doubt = top_eigenvector(block, tolerance=self.rtol / 8, careful=careful)
        quotient = rayleigh(block, vector)
        # at most sqrt 2 times the norm of a triangle; 4 gamma covers the complex product twice
        slack = 4 * gamma(2 * self.order + 16) * math.sqrt(2) * float(np.linalg.norm(block))
        proved = down(quotient - up(slack))
        if proved > self.found:
            self.found, self.best = proved, number
        return quotient, doubt

    def upper(self, error: float) -> Upper:
        """Bound on the largest eigenvalue of the true blocks, each within ``error`` (spectral norm) of the one given.

        A factorisation that ends has ``R^H R = S + D``, ``|D_ij| <= g/(1-g) sqrt(S_ii S_jj)`` with ``g = gamma_{n+2}``
        for real blocks, in any order of the sums, a pivot's reciprocal in place of a division included (Higham,
        Theorem 10.3; Demmel): ``||D|| <= g/(1-g) trace S <= g/(1-g) n level``. The shifted diagonal is rounded by
        ``u level``. ``2 gamma_{2n+8} n level`` is twice that for complex blocks, four times for real ones; underflow,
        a level being no less than its floor, is lost in it.
        """
        return sum_up((self.level, up(2 * gamma(2 * self.order + 8) * self.order * self.level), error))

    def lower(self, error: float) -> Lower:
        """Bound from below, under the same ``error``."""
        return Lower(max(0.0, down(self.found - error)))


def cholesky_succeeds(level: float, block: Block) -> bool:
    """Whether ``level I - H`` factorises, H being given by the lower triangle of a matrix in Fortran order."""
    shifted = np.negative(block, order="F")
    np.einsum("ii->i", shifted)[...] += level
    factorise = lapack.zpotrf if np.iscomplexobj(block) else lapack.dpotrf
    factor, info = factorise(shifted, lower=1, clean=0, overwrite_a=1)
    return info == 0 and bool(np.isfinite(factor.diagonal()).all())


TIMES = {"f": blas.ssymv, "d": blas.dsymv, "F": blas.chemv, "D": blas.zhemv}


def times(block: npt.NDArray[Any], vector: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``H v``, from the lower triangle, in the precision of both."""
    product: npt.NDArray[Any] = TIMES[block.dtype.char](1.0, block, vector, lower=1)
    return product


def rayleigh(block: Block, vector: Block) -> float:
    """``v^H H v / v^H v`` in float64 arithmetic."""
    return float(np.vdot(vector, times(block, vector)).real / np.vdot(vector, vector).real)


def top_eigenvector(block: Block, *, tolerance: float, careful: bool) -> tuple[Block, float]:
    """An eigenvector for the largest eigenvalue of the Hermitian matrix with this lower triangle: an estimate.

    With it, how far its Rayleigh quotient seems to lie below the eigenvalue, relative.
    """
    order = len(block)
    vectors: Block
    if careful or order < LANCZOS_FROM:
        _, vectors = eigh(block, subset_by_index=(order - 1, order - 1), check_finite=False)
        return vectors[:, 0], 0.0
    vector, doubt = lanczos(block, np.random.default_rng(order).standard_normal(order), tolerance)
    return vector.astype(block.dtype), doubt


def lanczos(block: Block, start: npt.NDArray[np.float64], tolerance: float) -> tuple[npt.NDArray[Any], float]:
    """The top Ritz vector, once its Rayleigh quotient seems to err by ``tolerance`` relative, and by how much it does.

    In float32, which errs to second order only in the quotient. The tolerance doubles with every 32 steps: where the
    spectrum is dense, more of them cost more than they give. Orthogonalised in full: Parlett, The Symmetric Eigenvalue
    Problem, ch. 13.
    """
    narrow = block.astype(np.complex64 if np.iscomplexobj(block) else np.float32, order="F")
    steps = min(len(block), MOST_STEPS)
    basis = np.empty((steps + 1, len(block)), dtype=narrow.dtype)
    basis[0] = start / np.linalg.norm(start)
    diagonal, off = np.empty(steps), np.empty(steps)
    for k in range(steps):
        vector = times(narrow, basis[k])
        diagonal[k] = np.vdot(basis[k], vector).real
        for _ in range(2):  # once loses orthogonality where the eigenvalues lie close
            vector -= (basis[: k + 1].conj() @ vector) @ basis[: k + 1]
        off[k] = math.sqrt(np.vdot(vector, vector).real)
        exhausted = off[k] <= 2.0**-20 * abs(diagonal[k]) or k + 1 == steps
        if exhausted or (k + 1) % CHECK_EVERY == 0:
            first = max(0, k - 1)
            values, ritz = eigh_tridiagonal(diagonal[: k + 1], off[:k], select="i", select_range=(first, k))
            # the residual bounds the error of the value; its square over the gap is what it comes to
            residual = off[k] * abs(ritz[-1, -1])
            gap = values[-1] - values[0]
            doubt = (residual * residual / gap if gap > residual else residual) / values[-1]
            if residual <= 2.0**-21 * values[-1]:  # rounding, of which the quotient in float64 has none
                doubt = 0
            if exhausted or doubt <= tolerance * 2 ** (k / 32):
                break
        basis[k + 1] = vector / off[k]
    top: Block = ritz[:, -1] @ basis[: k + 1]
    return top, min(doubt, tolerance * 2 ** (k / 32))


def _promising(blocks: Block) -> int:
    """The block with the largest Rayleigh quotient after a few power steps."""
    if len(blocks) == 1:
        return 0
    stacked = torch.from_numpy(blocks)
    start = torch.from_numpy(np.random.default_rng(0).standard_normal((stacked.shape[-1], 1)))
    vectors = start.to(stacked.dtype).expand(len(stacked), -1, -1)
    for _ in range(POWER_STEPS):
        vectors = torch.nn.functional.normalize(stacked @ vectors, dim=1)
    return int(torch.linalg.vector_norm(stacked @ vectors, dim=1).argmax())
