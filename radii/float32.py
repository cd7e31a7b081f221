"""The numbers that float32 holds, in which networks run. Needs nothing: API and library share it."""

from array import array

LARGEST = float.fromhex("0x1.fffffep127")  # 3.4e38
LEAST_NORMAL = 2.0**-126  # 1.2e-38; below it numbers lose digits, and some processors take them for 0


def rounded(value: float) -> float:
    """The float32 number nearest to ``value``."""
    return array("f", [value])[0]
