"""Which certification goes before which: a number, the smaller the earlier. Pure functions.

Interactive ones, which are small and waited for, go before all others; within both, priorities from 9 to 0. Among
equals keys take turns, and a key's own go by age (``models.repositories.turns``).
"""

LOWEST, DEFAULT, HIGHEST = 0, 5, 9
SMALL = {"samples": 1_000_000, "inputs": 1_000}
"""Units of progress up to which a certification is small: seconds of work for most networks. One that takes longer
all the same keeps others waiting no longer than any: its shards are as long as all others'."""
BATCH = 10


def rank(priority: int, *, interactive: bool) -> int:
    """The place of a certification of that priority."""
    if not LOWEST <= priority <= HIGHEST:
        raise ValueError(f"priority: must be from {LOWEST} to {HIGHEST}, not {priority}")
    return HIGHEST - priority + (0 if interactive else BATCH)


def priority(of_rank: int) -> int:
    """The priority that a rank was made of."""
    return HIGHEST - of_rank % BATCH


def interactive(of_rank: int) -> bool:
    """Whether a rank is of an interactive certification."""
    return of_rank < BATCH


def small(total: int, unit: str) -> bool:
    """Whether so many units of progress are little enough to go before others."""
    return total <= SMALL[unit]


USUAL = rank(DEFAULT, interactive=False)
