"""The bounds of a network that may be asked for, by name. Needs nothing: API and library share it."""

from typing import Literal

BoundName = Literal["auto", "product", "combettes-pesquet", "eclipse"]
"""How the layers' bounds become one of the network; ``auto`` takes the smallest of all that apply."""
