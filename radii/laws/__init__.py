"""The laws of noise an axis: one class a law, in a file of its own, and entered here.

What certifies, what draws and what the API refuses ask the class. Needs nothing until something is drawn or bounded.
"""

from typing import Literal

from radii.laws.base import Law
from radii.laws.gaussian import Gaussian
from radii.laws.laplace import Laplace
from radii.laws.uniform import Uniform

LawName = Literal["gaussian", "uniform", "laplace"]
LAWS: dict[str, Law] = {law.name: law for law in (Gaussian(), Uniform(), Laplace())}

__all__ = ["LAWS", "Law", "LawName"]
