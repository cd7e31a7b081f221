"""Functions of one variable spelled out in steps: those of known slope, single operators, random ones."""

import math

import numpy as np
import torch

from radii.graph.cone.expression import Step
from radii.graph.cone.find import Cone
from radii.graph.operator import Operator
from radii.graph.ops import activation as act
from radii.graph.ops import elementwise as arithmetic
from radii.graph.ops import parametric as par
from radii.graph.ops import threshold as thresholds

Steps = list[tuple[Operator, tuple[int, ...]]]


def add(value: float) -> Operator:
    return arithmetic.Add(np.array(value))


def mul(value: float) -> Operator:
    return arithmetic.Mul(np.array(value))


ADD, MUL, SUB, DIV = arithmetic.Add(), arithmetic.Mul(), arithmetic.Sub(), arithmetic.Div()

CHOICE = thresholds.Where(None, None, None)

ROOT = math.sqrt(2)

KNOWN: dict[str, tuple[Steps, float]] = {  # design constants, all rounded up at the last digit
    "silu": ([(act.Sigmoid(), (0,)), (MUL, (0, 1))], 1.099839320129),
    "quick gelu": ([(mul(1.702), (0,)), (act.Sigmoid(), (1,)), (MUL, (2, 0))], 1.099839320129),
    "gelu": (
        [(mul(1 / ROOT), (0,)), (act.Erf(), (1,)), (add(1.0), (2,)), (MUL, (0, 3)), (mul(0.5), (4,))],
        1.128904145185,
    ),
    "gelu tanh, Pow": (
        [
            (par.Pow(3.0), (0,)),
            (mul(0.044715), (1,)),
            (ADD, (0, 2)),
            (mul(math.sqrt(2 / math.pi)), (3,)),
            (act.Tanh(), (4,)),
            (add(1.0), (5,)),
            (MUL, (0, 6)),
            (mul(0.5), (7,)),
        ],
        1.128993068659,
    ),
    "gelu tanh, products": (
        [
            (MUL, (0, 0)),
            (MUL, (0, 1)),
            (mul(0.044715), (2,)),
            (ADD, (3, 0)),
            (mul(math.sqrt(2 / math.pi)), (4,)),
            (act.Tanh(), (5,)),
            (add(1.0), (6,)),
            (mul(0.5), (0,)),
            (MUL, (8, 7)),
        ],
        1.128993068659,
    ),
    "mish": ([(act.Softplus(), (0,)), (act.Tanh(), (1,)), (MUL, (0, 2))], 1.088498161252),
    "hard swish, HardSigmoid": ([(par.HardSigmoid(1 / 6, 0.5), (0,)), (MUL, (0, 1))], 1.5),
    "hard swish, Clip": (
        [(add(3.0), (0,)), (par.Clip(0.0, 6.0), (1,)), (MUL, (0, 2)), (arithmetic.Div(np.array(6.0)), (3,))],
        1.5,
    ),
    "softsign": ([(act.Abs(), (0,)), (add(1.0), (1,)), (DIV, (0, 2))], 1.0),
    "bell": ([(MUL, (0, 0)), (act.Neg(), (1,)), (act.Exp(), (2,))], math.sqrt(2 / math.e)),
    "x - tanh": ([(act.Tanh(), (0,)), (SUB, (0, 1))], 1.0),
    "one slope, two kinks": ([(act.Relu(), (0,)), (act.Neg(), (0,)), (act.Relu(), (2,)), (SUB, (1, 3))], 1.0),
    "scaled": ([(mul(-1e-4), (0,)), (act.Sigmoid(), (1,)), (MUL, (0, 2))], 1.099839320129),
    "steep": ([(mul(1e4), (0,)), (act.Sigmoid(), (1,)), (MUL, (0, 2))], 1.099839320129),
    "constant": ([(act.Relu(), (0,)), (mul(0.0), (1,)), (MUL, (2, 2))], 0.0),
}


def cone(steps: Steps) -> Cone:
    return Cone(tuple(Step(operator, inputs) for operator, inputs in steps))


def sampled(steps: Steps, seed: int = 0) -> float:
    """The steepest slope on a dense set of points, by torch's automatic differentiation in float64."""
    rng = np.random.default_rng(seed)
    points = np.concatenate([np.linspace(-12, 12, 20_001), rng.normal(size=2000) * 10.0 ** rng.uniform(-6, 6, 2000)])
    x = torch.tensor(points, requires_grad=True)
    (slopes,) = torch.autograd.grad(cone(steps).run([x], {}).sum(), x)
    return float(slopes[slopes.isfinite()].abs().max())


UNARY: list[Operator] = [
    *(act.Relu(), act.Tanh(), act.Softplus(), act.Softsign(), act.Abs(), act.Neg(), act.Sigmoid(), act.HardSwish()),
    *(act.Mish(), act.Erf(), act.Gelu(), act.Gelu("tanh"), par.LeakyRelu(0.1), par.LeakyRelu(-1.5), par.Elu(2.0)),
    *(par.Swish(), par.Swish(1.7), par.Swish(-40.0)),
    *(par.Selu(), par.Celu(0.5), par.HardSigmoid(), par.Clip(-1.0, 2.0), par.Clip(None, 1.0), mul(-0.7), mul(3.0)),
    *(add(0.3), add(-2.0), arithmetic.Sub(np.array(1.0), True), arithmetic.Div(np.array(1.7))),
]


def expression(rng: np.random.Generator) -> Steps:
    """Four to seven operators, the last of them a meeting of two branches."""
    steps: Steps = []
    for i in range(int(rng.integers(3, 7))):
        if rng.random() < 0.3 and i:
            steps.append(([ADD, SUB, MUL][rng.integers(3)], tuple(map(int, rng.integers(0, i + 1, 2)))))
        else:
            steps.append((UNARY[rng.integers(len(UNARY))], (int(rng.integers(0, i + 1)),)))
    return [*steps, ([ADD, SUB, MUL][rng.integers(3)], (len(steps), int(rng.integers(0, len(steps)))))]
