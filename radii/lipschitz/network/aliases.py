"""Frequencies that a stride makes one: of a torus of N pixels every s-th is kept, a torus of ``M = N/s`` pixels.

What then has the frequency g stems from those of ``g + k M``, ``0 <= k < s``, along every axis, its *aliases*. Of each
torus half of the frequencies are stored; the blocks of the others are the conjugates. Formulas: docs/numerics.md 3.6.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radii.lipschitz.blocks import Blocks

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Aliases:
    """The K aliases of each of G stored frequencies of a torus, on the finer torus in front of it.

    Attributes:
        index: (G, K): the stored frequency that is an alias, or whose negative is.
        mirrored: (G, K): whether it is the negative.
    """

    index: Integers
    mirrored: npt.NDArray[np.bool_]

    @property
    def count(self) -> int:
        """K."""
        return int(self.index.shape[1])

    def of(self, blocks: Blocks) -> Blocks:
        """(G, K, m, n) the blocks of all aliases, of those of the finer torus (B, m, n), or of one for all."""
        taken = blocks[self.index % len(blocks)]
        made: Blocks = np.where(self.mirrored[:, :, None, None], taken.conj(), taken)
        return made

    def parts(self, wide: Blocks) -> Blocks:
        """(G, K, m, n) what blocks (G, m, K n) do to each alias."""
        made: Blocks = wide.reshape(*wide.shape[:2], self.count, -1).swapaxes(1, 2)
        return made

    def beside(self, parts: Blocks) -> Blocks:
        """(G, m, K n) of (G, K, m, n): the way back."""
        made: Blocks = np.ascontiguousarray(parts.swapaxes(1, 2)).reshape(len(parts), parts.shape[2], -1)
        return made

    def times(self, wide: Blocks, finer: Blocks) -> Blocks:
        """(G, m, K q) blocks (G, m, K n) behind those of the finer torus (B, n, q)."""
        return self.beside(self.parts(wide) @ self.of(finer))

    def returned(self, slopes: Blocks, stored: int) -> Blocks:
        """(stored, n, n) slopes with respect to the blocks of the finer torus, from those with respect to `of` them."""
        made = np.zeros((stored, *slopes.shape[2:]), dtype=slopes.dtype)
        np.add.at(made, self.index, np.where(self.mirrored[:, :, None, None], slopes.conj(), slopes))
        return made

    def behind(self, finer: Aliases | None) -> Aliases:
        """Those on the torus in front of two strides."""
        if finer is None:
            return self
        index, flip = finer.index[self.index], finer.mirrored[self.index] ^ self.mirrored[:, :, None]
        return Aliases(index.reshape(len(index), -1), flip.reshape(len(index), -1))
