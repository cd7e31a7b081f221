"""How a network bends, drifts and reads frequencies: figures for people who train. None of them certifies anything.

:func:`curvature`: the loss's Hessian, in the weights and in the inputs. :func:`drift`: layers' norms along a training
run, and what a step of SGD does to them. :func:`frequency`: which bands of frequencies the answers rest on.

Needs torch, numpy and SciPy alone. Formulas: docs/diagnostics.md.
"""

from radii.diagnostics.curvature import Curvature, curvature
from radii.diagnostics.drift import Drift, drift
from radii.diagnostics.errors import CannotDiagnose
from radii.diagnostics.frequency import Frequency, frequency
from radii.diagnostics.objective import Objective
from radii.diagnostics.step import Step, sgd_step

__all__ = [
    "CannotDiagnose",
    "Curvature",
    "Drift",
    "Frequency",
    "Objective",
    "Step",
    "curvature",
    "drift",
    "frequency",
    "sgd_step",
]
