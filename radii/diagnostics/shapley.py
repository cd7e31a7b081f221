"""Shapley values: what each player adds to a game, averaged over the orders in which they may join.

Shapley (Contributions to the Theory of Games 2, 1953); by permutations: Castro, Gómez, Tejada (Computers & Operations
Research 36, 2009). Formulas: docs/diagnostics.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from radii.diagnostics.errors import TooManyBands

MOST_EXACT = 8  # players, whose 256 subsets are all looked at

Game = Callable[[Tensor], Tensor]
"""Who is present, (N, players) booleans, to the values (N,): N games of the same players."""


def shapley(values: Tensor) -> Tensor:
    """(players, ...) of a game's values (2^players, ...): bit b of an index says that player b is present.

    Raises ValueError where the number of values is no power of 2.
    """
    players = len(values).bit_length() - 1
    if len(values) != 2**players:
        raise ValueError(f"a game has 2^players values, not {len(values)}")
    subsets = torch.arange(len(values))
    sizes = sum(((subsets >> player) & 1 for player in range(players)), torch.zeros_like(subsets))
    weights = values.new_tensor([1 / (players * math.comb(players - 1, size)) for size in range(players)])
    found = []
    for player in range(players):
        without = subsets[(subsets >> player) & 1 == 0]
        gain = values[without + 2**player] - values[without]
        found.append(torch.tensordot(weights[sizes[without]], gain, dims=1))
    return torch.stack(found)


def exact(game: Game, games: int, players: int) -> Tensor:
    """(N, players) of N games. Raises `TooManyBands` above 8 players."""
    if players > MOST_EXACT:
        raise TooManyBands(f"exact shares of {players} bands would look at {2**players:,} subsets")
    bits = torch.arange(2**players)[:, None] >> torch.arange(players) & 1 == 1
    return shapley(torch.stack([game(present.expand(games, -1)) for present in bits])).T


def sampled(game: Game, games: int, players: int, permutations: int, generator: torch.Generator) -> Tensor:
    """(N, players) estimates without bias, each game by random orders of its own."""
    total = torch.zeros((games, players), dtype=torch.float64)
    for _ in range(permutations):
        order = torch.rand((games, players), generator=generator).argsort(1)
        present = torch.zeros((games, players), dtype=torch.bool)
        before = game(present)
        for joining in order.T:
            present = present.scatter(1, joining[:, None], True)
            after = game(present)
            total.scatter_add_(1, joining[:, None], (after - before)[:, None])
            before = after
    return total / permutations
