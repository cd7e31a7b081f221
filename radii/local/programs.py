"""Weights that say that linear inequalities contradict each other, by linear and least distance programs.

They only propose: bounds whose rounding is proved find out what weights prove. Formulas: docs/numerics.md 11.9.
"""

from __future__ import annotations

import math

import numpy as np

from radii.local.search import Floats
from radii.norms import Norm

MOST = 1e4  # weight that a linear program may propose: of a part that holds no input no weight is large enough
ORDERS = {"l2": 2.0, "linf": 1.0, "l1": math.inf}  # of dual norms


def in_ball(G: Floats, h: Floats, norm: Norm) -> Floats | None:
    """Nonnegative w with ``w h / ||w G||_*`` about as large as can be: the distance of ``G u >= h`` from 0."""
    from scipy.optimize import linprog, nnls

    G, h, size = _scaled(G, h)
    k, d = G.shape
    bounded = {"bounds": (0, MOST), "method": "highs"}
    try:
        if norm == "l2":  # Lawson and Hanson, Solving Least Squares Problems, 23.4
            w = nnls(np.vstack([G.T, h[None]]), np.append(np.zeros(d), 1.0), maxiter=100 * k)[0]
        elif norm == "linf":  # sum |w G| <= 1
            a = np.block([[G.T, -np.eye(d)], [-G.T, -np.eye(d)], [np.zeros((1, k)), np.ones((1, d))]])
            made = linprog(np.append(-h, np.zeros(d)), a, np.append(np.zeros(2 * d), 1.0), **bounded)
            w = None if made.x is None else made.x[:k]
        else:  # max |w G| <= 1
            w = linprog(-h, np.vstack([G.T, -G.T]), np.ones(2 * d), **bounded).x
    except (RuntimeError, ValueError):
        return None
    return None if w is None else _weights(w, size)


def in_box(G: Floats, h: Floats, reach: Floats) -> tuple[Floats | None, Floats | None]:
    """Nonnegative w with ``w h - |w G| reach`` about as large as can be, and a u with ``|u| <= reach`` for which the
    least of ``G u - h`` is about largest."""
    from scipy.optimize import linprog

    G, h, size = _scaled(G * reach, h)
    k, d = G.shape
    try:
        made = linprog(
            np.append(np.zeros(d), -1.0),
            np.hstack([-G, np.ones((k, 1))]),
            -h,
            bounds=[*[(-1.0, 1.0)] * d, (None, None)],
            method="highs",
        )
    except (RuntimeError, ValueError):
        return None, None
    if made.x is None:
        return None, None
    return _weights(-made.ineqlin.marginals, size), made.x[:d] * reach


def distance(G: Floats, h: Floats, w: Floats, norm: Norm) -> float:
    """What weights say of the distance of ``G u >= h`` from 0; an estimate."""
    dual = np.linalg.norm(w @ G, ORDERS[norm])
    return float(w @ h / dual) if dual else math.nan


def _scaled(G: Floats, h: Floats) -> tuple[Floats, Floats, Floats]:
    """Every row's largest coefficient 1; and what it was."""
    size = np.abs(G).max(1)
    size[size == 0] = 1.0
    return G / size[:, None], h / size, size


def _weights(w: Floats, size: Floats) -> Floats | None:
    """Those of the rows as they were, the largest 1; None: there are none."""
    if not np.isfinite(w).all() or not w.max(initial=0.0) > 0:
        return None
    weights: Floats = np.maximum(w, 0.0) / size
    return weights / float(weights.max())
