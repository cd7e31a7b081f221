"""Arithmetic that is counted before it is done, so that a limit on it means the same on every machine."""

from typing import Protocol


class Spend(Protocol):
    """Told of multiply-adds before they are done; raises `TooMuchWork`.

    Args:
        work: their number.
        more: how many the same purpose may take behind them.
        optional: whether a bound is there without them, which they may sharpen.
    """

    def __call__(self, work: int, more: int = 0, *, optional: bool = False) -> None: ...


class TooMuchWork(Exception):
    """More multiply-adds than are allowed.

    Args:
        work: how many are enough.
    """

    def __init__(self, work: int) -> None:
        super().__init__(f"it takes {work / 1e9:,.0f} billion multiply-adds")
        self.work = work


def unlimited(work: int, more: int = 0, *, optional: bool = False) -> None:
    """Takes any number."""
