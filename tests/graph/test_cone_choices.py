"""Choices inside of a cone by several thresholds, put together by And, Or, Xor and Not."""

import numpy as np
import torch

from radii.graph.cone.expression import evaluate
from radii.graph.cone.jet import variable
from radii.graph.cone.search import steepness
from radii.graph.operator import Operator
from radii.graph.ops import parametric as par
from radii.graph.ops import threshold as thresholds
from tests.graph.functions import CHOICE, SUB, Steps, cone, mul


def clamped(connective: Operator, first: Operator, second: Operator, inside: bool, limit: float) -> Steps:
    """0 where x lies within ``limit`` as the connective has it, else x moved towards 0 by 0.75."""
    steps: Steps = [
        (first, (0,)),
        (second, (0,)),
        (connective, (1, 2)),
        (par.Clip(-limit, limit), (0,)),
        (SUB, (0, 4)),
        (mul(0.0), (0,)),
    ]
    return [*steps, (CHOICE, (3, 6, 5) if inside else (3, 5, 6))]


def test_choices_by_connectives() -> None:
    """Soft shrinkage is continuous, whichever way its two thresholds are put together; moved ones jump."""
    above, below = thresholds.Greater(np.array(0.75)), thresholds.Less(np.array(-0.75))
    under, over = thresholds.LessOrEqual(np.array(0.75)), thresholds.GreaterOrEqual(np.array(-0.75))
    for connective, first, second, inside in (
        (thresholds.Or(), above, below, False),
        (thresholds.Xor(), below, above, False),
        (thresholds.And(), under, over, True),
    ):
        found = steepness(cone(clamped(connective, first, second, inside, 0.75)).steps)
        assert found is not None
        assert 1.0 <= found.upper <= 1 + 1e-11
        assert found.loss < 1e-11
        assert steepness(cone(clamped(connective, first, second, inside, 0.5)).steps) is None


def test_connectives_of_random_thresholds_are_decided_rightly() -> None:
    """On cells: what is surely true or false is, at every point; what changes over ``once`` does so once at most."""
    rng = np.random.default_rng(12)
    comparisons = (thresholds.Greater, thresholds.Less, thresholds.GreaterOrEqual, thresholds.LessOrEqual)
    for _ in range(200):
        drawn = [comparisons[i] for i in rng.integers(0, 4, 3)]
        steps: Steps = [(comparison(np.array(rng.integers(-4, 5) / 2.0)), (0,)) for comparison in drawn]
        for _ in range(3):
            chosen = (thresholds.And, thresholds.Or, thresholds.Xor, thresholds.Not)[rng.integers(0, 4)]
            count = 1 if chosen is thresholds.Not else 2
            steps.append((chosen(), tuple(map(int, rng.integers(1, len(steps) + 1, count)))))
        lo = rng.uniform(-3, 3, 30)
        cells = variable(lo, lo + rng.uniform(0, 2, 30))
        # a number that is 1 where it holds and 0 elsewhere: its jump is what is known of it
        made = evaluate(cone(steps).steps, cells)
        x = torch.tensor(np.linspace(cells.value.lo, cells.value.hi, 401))
        truth = cone(steps).run([x], {}).numpy()
        assert np.all((made.value.lo <= truth) & (truth <= made.value.hi))
        changes = np.abs(np.diff(truth, axis=0)).sum(axis=0)
        assert np.all((changes == 0) | (made.jump >= 1))
        assert np.all((changes <= 1) | np.isinf(made.jump))
