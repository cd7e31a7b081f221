"""Deterministic radii near single inputs, by linear relaxation, rounding proved. Needs torch, numpy and SciPy."""

from radii.local.applicability import verdict
from radii.local.certificate import Effort, certify
from radii.local.network import Network, NotRelaxable
from radii.local.question import margins, margins_in_box
from radii.local.result import LocalResult

__all__ = ["Effort", "LocalResult", "Network", "NotRelaxable", "certify", "margins", "margins_in_box", "verdict"]
