"""The bounds of a network that may be asked for, by name. Needs nothing: API and library share it."""

from typing import Literal

BoundName = Literal["auto", "product", "combettes-pesquet", "eclipse"]
"""How the layers' bounds become one of the network; ``auto`` takes the smallest of all that apply."""

DEFAULT_BUDGET = 1024
"""What norms of layers, and rules on several layers, may take in units of 2^30 multiply-adds: within a minute of one
core."""
