"""Results in print: numbers rounded so that print never says more than was certified."""

from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Context, Decimal
from typing import Any, NamedTuple

DECIMALS = {"linf": 6}
"""How many a radius has in print, by norm, where not 4. One of linf is divided by the square root of the input's size,
which makes it small."""


class Line(NamedTuple):
    """A line of a table of results."""

    cells: tuple[str, ...]
    says: bool
    """Whether anything is certified in it."""


def down(number: float, decimals: int) -> str:
    """A certified figure in print: rounded toward zero, so that print never says more than was certified."""
    if number >= 2**53 / 10**decimals:  # floats lie further apart than these decimals
        return below(number)
    return str(Decimal(repr(number)).quantize(Decimal(1).scaleb(-decimals), ROUND_DOWN))


def above(number: float, digits: int = 7) -> str:
    """An upper bound in print: seven digits, rounded up."""
    return _rounded(number, ROUND_CEILING, digits)


def below(number: float) -> str:
    """A lower bound in print: seven digits, rounded down."""
    return _rounded(number, ROUND_FLOOR, 7)


def text(value: Any) -> str:
    """A value in print."""
    return "-" if value is None else str(value)


def _rounded(number: float, rounding: str, digits: int) -> str:
    return f"{float(Context(prec=digits, rounding=rounding).create_decimal(Decimal(repr(number)))):.{digits}g}"
