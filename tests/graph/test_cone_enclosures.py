"""What the interval search rests on: enclosures of random functions, growth far out, the libraries' own errors."""

import math

import mpmath
import numpy as np
import torch
from mpmath import mp, mpf
from scipy.special import erf, expit

from radii.graph.cone.expression import evaluate
from radii.graph.cone.growth import Growth
from radii.graph.cone.interval import BELL, LIBRARY
from radii.graph.cone.jet import variable
from radii.graph.cone.search import steepness
from tests.graph.functions import (
    cone,
    expression,
    sampled,
)


def test_random_functions_are_never_steeper_than_proved() -> None:
    rng, bounded, tight = np.random.default_rng(7), 0, 0
    for seed in range(80):
        steps = expression(rng)
        found = steepness(cone(steps).steps)
        if found is None:
            continue
        bounded += 1
        steepest = sampled(steps, seed)
        assert steepest <= found.upper * (1 + 1e-12) + 1e-15
        tight += found.upper <= steepest * (1 + 1e-4) + 1e-12
    assert bounded > 40
    assert tight > 0.8 * bounded


def test_enclosures_hold_at_random_points() -> None:
    """Value, slope and error of random functions on random cells, bounded or not, against points inside."""
    rng = np.random.default_rng(11)
    for _ in range(100):
        steps = expression(rng)
        lo = rng.normal(size=40) * 10.0 ** rng.uniform(-3, 2, 40)
        hi = lo + 10.0 ** rng.uniform(-6, 1, 40)
        sides = [(variable(lo, hi), lo, hi)]
        far = np.array([64.0]), np.array([1e5])
        sides.append((variable(far[0], np.array([np.inf]), start=64.0), *far))
        sides.append((variable(np.array([-np.inf]), -far[0], start=64.0), -far[1], -far[0]))
        for cells, low, high in sides:
            with np.errstate(all="ignore"):
                made = evaluate(cone(steps).steps, cells)
            for t in (0.0, 0.3, 1.0):
                x = torch.tensor(low + t * (high - low), requires_grad=True)
                y = cone(steps).run([x], {})
                (slope,) = torch.autograd.grad(y.sum(), x)
                value, error = y.detach().numpy(), made.error.hi + 1e-300
                assert np.all((made.value.lo - error <= value) & (value <= made.value.hi + error))
                wide = 1e-9 * (1 + np.abs(slope.numpy()))
                inside = (made.slope.lo - wide <= slope.numpy()) & (slope.numpy() <= made.slope.hi + wide)
                assert np.all(inside | ((t in (0.0, 1.0)) & (low == -high)))


def test_growth_bounds_hold() -> None:
    t = np.array([4.0, 5.0, 20.0])
    start = 4.0
    x = Growth(start, 0.0, 1.0, 0.0, 0.0, 1.0)
    cases = [
        (x.times(x), t * t),
        (x.plus(Growth(start, math.log(3), c=math.log(3)), same_sign=False), t - 3),
        (x.decay(2.0, 1.0), np.exp(-2 * t)),
        (x.times(x.decay(1.0, 2.0)), t * np.exp(-t * t)),
        (x.power(0.5), np.sqrt(t)),
        (x.times(x).reciprocal(), 1 / t**2),
    ]
    for growth, values in cases:
        assert np.all(np.log(values) <= growth.a + growth.p * np.log(t) - growth.k * t + 1e-9)
        if growth.c > -math.inf:
            assert np.all(np.log(values) >= growth.c + growth.q * np.log(t) - 1e-9)
        assert np.log(values).max() <= growth.log_supremum() + 1e-9


def test_library_functions_err_less_than_allowed() -> None:
    """NumPy and SciPy against 40 digits."""
    points = np.random.default_rng(3).normal(size=400) * 10.0 ** np.random.default_rng(4).uniform(-4, 1.2, 400)
    with mp.workdps(40):
        for function, exact, allowed in (
            (np.exp, mpmath.exp, LIBRARY),
            (np.tanh, mpmath.tanh, LIBRARY),
            (erf, mpmath.erf, LIBRARY),
            (expit, lambda x: 1 / (1 + mpmath.exp(-x)), LIBRARY),
            (lambda x: np.logaddexp(x, 0.0), lambda x: mpmath.log1p(mpmath.exp(x)), LIBRARY),
            (lambda x: np.log(np.abs(x)), lambda x: mpmath.log(abs(x)), LIBRARY),
            (lambda x: 1 / np.cosh(x) ** 2, lambda x: mpmath.sech(x) ** 2, BELL),
            (lambda x: expit(x) * expit(-x), lambda x: 1 / (2 + mpmath.exp(x) + mpmath.exp(-x)), BELL),
            (lambda x: np.exp(-x * x), lambda x: mpmath.exp(-(x**2)), BELL),
        ):
            for x, y in zip(points, function(points), strict=True):
                true = exact(mpf(float(x)))
                assert abs(mpf(float(y)) - true) <= abs(true) * allowed / 4 + mpf(1e-292)
