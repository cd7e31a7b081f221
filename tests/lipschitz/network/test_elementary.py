"""What `radii.lipschitz.network.forward` assumes of torch's float64 functions, against mpmath: no proof, a watchman."""

from collections.abc import Callable, Sequence

import mpmath as mp
import numpy as np
import pytest
import torch

from radii.graph.operator import Operator
from radii.graph.ops.windows import Windows
from radii.graph.rules import Slope, Unbounded
from radii.lipschitz.network.forward import ELEMENTARY, REACH, UNDERFLOW
from tests.lipschitz.network.operators import new_operator

ULPS = 512 * 2.0**-52  # 128 times less than is assumed
EXTREMES = [5e-324, 1e-310, 2.3e-308, 1e-300, 1e-170, 1e-154, 1e-100, 1e-30, 1e30, 1e100, 1e154, 1e170, 1e300, 1.7e308]

FUNCTIONS = {
    "exp": (torch.exp, mp.exp, 700),
    "log": (torch.log, mp.log, 1e300),
    "tanh": (torch.tanh, mp.tanh, 30),
    "erf": (torch.erf, mp.erf, 6),
    "sigmoid": (torch.sigmoid, lambda v: 1 / (1 + mp.exp(-v)), 700),
    "sin": (torch.sin, mp.sin, 1e6),
    "cos": (torch.cos, mp.cos, 1e6),
    "sqrt": (torch.sqrt, mp.sqrt, 1e300),
    "reciprocal": (torch.reciprocal, lambda v: 1 / v, 1e300),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_elementary_functions_err_by_less_than_512_ulp(name: str) -> None:
    function, exact, reach = FUNCTIONS[name]
    rng = np.random.default_rng(0)
    low, high = (-12, np.log10(reach)) if reach < 1e7 else (-300, 300)
    x = np.append(10.0 ** rng.uniform(low, high, 400), [e for e in EXTREMES if e <= reach or name in ("sin", "cos")])
    if name not in ("log", "sqrt"):
        x *= rng.choice([-1, 1], len(x))
    computed = function(torch.from_numpy(x)).numpy()
    with mp.workdps(60):
        for argument, value in zip(x.tolist(), computed.tolist(), strict=True):
            truth = exact(mp.mpf(argument))
            if 1e-300 < abs(truth) < 1e308:
                assert abs(value - truth) <= ULPS * abs(truth)


Function = Callable[[mp.mpf], mp.mpf]
Vector = list[mp.mpf]
Exact = Callable[[Vector], Vector]


def saturated(function: Function, *, beyond: float = 1e5) -> Function:
    """The function, ``max(v, 0)`` where mpmath would take long over what is no longer there."""
    return lambda v: function(v) if abs(v) < beyond else max(v, mp.mpf(0))


def softplus(v: mp.mpf) -> mp.mpf:
    return mp.log1p(mp.exp(v))


def elu(v: mp.mpf, alpha: float = 1.0, width: float = 1.0) -> mp.mpf:
    return v if v > 0 else mp.mpf(alpha) * mp.expm1(v / mp.mpf(width))


def gelu_tanh(v: mp.mpf) -> mp.mpf:
    return v / (1 + mp.exp(-2 * mp.sqrt(2 / mp.pi) * (v + mp.mpf("0.044715") * v**3)))


SELU = new_operator("Selu")
ELEMENTWISE = {
    "Tanh": (new_operator("Tanh"), mp.tanh),
    "Erf": (new_operator("Erf"), mp.erf),
    "Sigmoid": (new_operator("Sigmoid"), lambda v: 1 / (1 + mp.exp(-v)) if abs(v) < 1e5 else mp.mpf(v > 0)),
    "Softplus": (new_operator("Softplus"), saturated(softplus)),
    "Softsign": (new_operator("Softsign"), lambda v: v / (1 + abs(v))),
    "HardSwish": (new_operator("HardSwish"), lambda v: v * min(max(v / 6 + mp.mpf(1) / 2, 0), 1)),
    "Mish": (new_operator("Mish"), saturated(lambda v: v * mp.tanh(softplus(v)))),
    "Gelu, erf": (new_operator("Gelu", "none"), saturated(lambda v: v * mp.erfc(-v / mp.sqrt(2)) / 2, beyond=1e3)),
    "Gelu, tanh": (new_operator("Gelu", "tanh"), saturated(gelu_tanh, beyond=1e3)),
    "Elu": (new_operator("Elu", 1.0), elu),
    "Elu, steep": (new_operator("Elu", 3.5), lambda v: elu(v, 3.5)),
    "Selu": (SELU, lambda v: mp.mpf(SELU.gamma) * elu(v, SELU.alpha)),
    "Celu": (new_operator("Celu", 0.5), lambda v: elu(v, 0.5, 0.5)),
    "Celu, narrow": (new_operator("Celu", 1e-30), lambda v: elu(v, 1e-30, 1e-30)),
    "Swish": (new_operator("Swish", 1.702), saturated(lambda v: v / (1 + mp.exp(-mp.mpf(1.702) * v)))),
    "HardSigmoid": (new_operator("HardSigmoid", 0.2, 0.5), lambda v: min(max(mp.mpf(0.2) * v + mp.mpf(0.5), 0), 1)),
    "LeakyRelu": (new_operator("LeakyRelu", 0.01), lambda v: v if v > 0 else mp.mpf(0.01) * v),
    "Sin": (new_operator("Sin"), mp.sin),
    "Cos": (new_operator("Cos"), mp.cos),
    "Atan": (new_operator("Atan"), mp.atan),
    "Asinh": (new_operator("Asinh"), lambda v: mp.sign(v) * mp.asinh(abs(v))),
}


def assert_allowed(operator: Operator, shape: tuple[int, ...], x: Vector, exact: Vector) -> None:
    """``||computed - exact|| <= 512 ulp of L ||x|| + ||op(0)||``, the lists x and exact being of mpmath numbers."""
    arrays = {name: torch.from_numpy(np.array(array)) for name, array in operator.arrays().items()}
    both = torch.tensor([[float(v) for v in x], [0.0] * len(x)], dtype=torch.float64).reshape(2, *shape)
    computed, at_zero = operator.run([both], arrays).flatten(1).tolist()
    rule = operator.lipschitz(shape)
    assert isinstance(rule, Slope)
    assert not operator.exact and ULPS < ELEMENTARY / 100
    size = rule.upper * length(x) + length(at_zero)
    if size > REACH or length(x) > REACH:
        return  # nothing is claimed
    loss = ULPS * size + UNDERFLOW + rule.loss * mp.sqrt(len(exact))
    assert length([mp.mpf(a) - b for a, b in zip(computed, exact, strict=True)]) <= loss


def length(values: Sequence[mp.mpf]) -> mp.mpf:
    return mp.sqrt(mp.fsum(mp.mpf(v) ** 2 for v in values))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_activations_err_by_less_than_512_ulp_of_what_bounds_them(name: str) -> None:
    operator, exact = ELEMENTWISE[name]
    rng = np.random.default_rng(1)
    x = np.concatenate([EXTREMES, 10.0 ** rng.uniform(-30, 5, 80), rng.uniform(0, 40, 60), rng.uniform(600, 760, 20)])
    with mp.workdps(40):
        for v in map(mp.mpf, (*x.tolist(), *(-x).tolist(), 0.0)):
            assert_allowed(operator, (1,), [v], [exact(v)])


def exponentials(v: Vector) -> tuple[Vector, mp.mpf, mp.mpf]:
    top = max(v)
    powers = [mp.exp(a - top) if a - top > -5000 else mp.mpf(0) for a in v]
    return powers, mp.fsum(powers), top


def softmax(v: Vector) -> Vector:
    powers, total, _ = exponentials(v)
    return [p / total for p in powers]


def log_sum(v: Vector) -> mp.mpf:
    _, total, top = exponentials(v)
    return top + mp.log(total)


def log_softmax(v: Vector) -> Vector:
    log = log_sum(v)
    return [a - log for a in v]


def standardised(epsilon: float, *, centred: bool = True) -> Exact:
    def exact(v: Vector) -> Vector:
        mean = mp.fsum(v) / len(v) if centred else 0
        variance = mp.fsum((a - mean) ** 2 for a in v) / len(v)
        return [(a - mean) / mp.sqrt(variance + mp.mpf(epsilon)) for a in v]

    return exact


def pooled(kernel: int, stride: int, pad: int, *, include_pad: bool) -> Exact:
    """Averages along the one axis."""

    def exact(v: Vector) -> Vector:
        windows = [range(i - pad, i - pad + kernel) for i in range(0, len(v) + 2 * pad - kernel + 1, stride)]
        inside = [[v[j] for j in window if 0 <= j < len(v)] for window in windows]
        return [mp.fsum(entries) / (kernel if include_pad else len(entries)) for entries in inside]

    return exact


def lrn(alpha: float, beta: float) -> Exact:
    """Over 3 channels, with bias 1."""

    def exact(v: Vector) -> Vector:
        squares = [0, *(a * a for a in v), 0]
        bases = [1 + mp.mpf(alpha) / 3 * mp.fsum(squares[i : i + 3]) for i in range(len(v))]
        return [a / base**beta for a, base in zip(v, bases, strict=True)]

    return exact


N = 60
ONES, ZEROS = np.ones(N), np.zeros(N)
DRAW = np.random.default_rng(2)
SCALE, OFFSET = DRAW.standard_normal(N) * 1e3, DRAW.standard_normal(N)
WIDE, NARROW = Windows((7,), (1,), (1,), ((3, 3),)), Windows((4,), (3,), (1,), ((1, 1),))
VECTORS = {
    "Softmax": (new_operator("Softmax", 0, False), (N,), softmax),
    "LogSoftmax": (new_operator("LogSoftmax", 0, False), (N,), log_softmax),
    "ReduceLogSumExp": (new_operator("ReduceLogSumExp", (0,), True), (N,), lambda v: [log_sum(v)]),
    "ReduceMean": (new_operator("ReduceMean", (0,), True), (N,), lambda v: [mp.fsum(v) / N]),
    "ReduceSum": (new_operator("ReduceSum", (0,), True), (N,), lambda v: [mp.fsum(v)]),
    "ReduceL1": (new_operator("ReduceL1", (0,), True), (N,), lambda v: [mp.fsum(map(abs, v))]),
    "ReduceL2": (new_operator("ReduceL2", (0,), True), (N,), lambda v: [length(v)]),
    "GlobalAveragePool": (new_operator("GlobalAveragePool"), (1, 6, 10), lambda v: [mp.fsum(v) / N]),
    "AveragePool": (new_operator("AveragePool", WIDE, True), (1, N), pooled(7, 1, 3, include_pad=True)),
    "AveragePool, own": (new_operator("AveragePool", NARROW, False), (1, N), pooled(4, 3, 1, include_pad=False)),
    "LayerNormalization": (new_operator("LayerNormalization", ONES, None, 0, 1e-5), (N,), standardised(1e-5)),
    "LayerNormalization, steep": (new_operator("LayerNormalization", ONES, None, 0, 1e-12), (N,), standardised(1e-12)),
    "GroupNormalization": (
        new_operator("GroupNormalization", ONES[:2], ZEROS[:2], 1, 1e-5),
        (2, 5, 6),
        standardised(1e-5),
    ),
    "InstanceNormalization": (
        new_operator("InstanceNormalization", ONES[:1], ZEROS[:1], 1, 1e-5),
        (1, 6, 10),
        standardised(1e-5),
    ),
    "RMSNormalization": (new_operator("RMSNormalization", ONES, 0, 1e-5), (N,), standardised(1e-5, centred=False)),
    "LRN": (new_operator("LRN", 0.3, 0.75, 1.0, 3), (N, 1), lrn(0.3, 0.75)),
    "LRN, steep": (new_operator("LRN", 1e-3, 1024.0, 1.0, 3), (N, 1), lrn(1e-3, 1024)),
    "BatchNormalization": (
        new_operator("BatchNormalization", SCALE, OFFSET),
        (N,),
        lambda v: [a * s + b for a, s, b in zip(v, SCALE.tolist(), OFFSET.tolist(), strict=True)],
    ),
    "Div": (
        new_operator("Div", SCALE),
        (N,),
        lambda v: [a / mp.mpf(s) for a, s in zip(v, SCALE.tolist(), strict=True)],
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_what_mixes_entries_errs_by_less_than_512_ulp_of_what_bounds_it(name: str) -> None:
    operator, shape, exact = VECTORS[name]
    rng = np.random.default_rng(3)
    cases = [rng.standard_normal(N) * scale for scale in (*EXTREMES[:-1], 1e-8, 1e-3, 1, 30, 1e3, 1e8)]
    cases += [o + d * o * rng.standard_normal(N) for o in (1, 1e4, 1e8, 1e12) for d in (1e-3, 1e-6, 1 / o)]
    cases += [rng.standard_normal(N) * 10.0 ** rng.uniform(-20, 20, N), rng.uniform(-800, 800, N), 1e9 * np.eye(N)[3]]
    with mp.workdps(40):
        for x in cases:
            v = [mp.mpf(entry) for entry in x.tolist()]
            assert_allowed(operator, shape, v, exact(v))


def test_a_power_that_multiplies_rounding_has_no_bound() -> None:
    operator, x = new_operator("LRN", 1e-9, 1e9, 1.0, 3), np.random.default_rng(4).standard_normal(N)
    computed = operator.run([torch.from_numpy(x).reshape(1, N, 1)], {}).flatten().tolist()
    with mp.workdps(40):
        exact = lrn(1e-9, 10**9)([mp.mpf(entry) for entry in x.tolist()])
        assert length([a - b for a, b in zip(computed, exact, strict=True)]) > 10 * ELEMENTARY * length(x.tolist())
    assert isinstance(operator.lipschitz((N, 1)), Unbounded)
