"""The rule for functions spelled out in several nodes: proved slopes against dense evaluation and known constants."""

import math

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mp, mpf
from onnx import TensorProto
from scipy.special import erf, expit

from radii.graph import methods, read_onnx, to_module, with_cones
from radii.graph.cone import Cone
from radii.graph.cone.expression import Step, evaluate
from radii.graph.cone.find import MOST_SEARCHES
from radii.graph.cone.growth import Growth
from radii.graph.cone.interval import BELL, LIBRARY
from radii.graph.cone.jet import variable
from radii.graph.cone.search import steepness
from radii.graph.ir import Operator
from radii.graph.ops import activation as act
from radii.graph.ops import elementwise as arithmetic
from radii.graph.ops import parametric as par
from radii.graph.ops import threshold as thresholds
from radii.lipschitz import network_bound
from tests.graph.build import model, node, reference, relative_gap

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


@pytest.mark.parametrize("name", KNOWN)
def test_known_constants(name: str) -> None:
    steps, exact = KNOWN[name]
    found = steepness(cone(steps).steps)
    assert found is not None
    assert exact * (1 - 1e-15) <= found.upper <= exact * (1 + 5e-12) + 1e-250
    assert sampled(steps) <= found.upper * (1 + 1e-12)
    assert found.loss < 1e-11


def silu(x: mpf) -> mpf:
    return x / (1 + mpmath.exp(-x))


def test_silu_against_forty_digits() -> None:
    with mp.workdps(40):
        exact = mpmath.diff(silu, mpmath.findroot(lambda x: mpmath.diff(silu, x, 2), 2.4))
        found = steepness(cone(KNOWN["silu"][0]).steps)
        assert found is not None
        assert exact <= mpf(found.upper) <= exact * (1 + mpf("5e-12"))


@pytest.mark.parametrize(
    "steps",
    [
        [(MUL, (0, 0))],
        [(par.Pow(2.0), (0,))],
        [(act.Relu(), (0,)), (MUL, (0, 1))],
        [(act.Exp(), (0,))],
        [(act.Relu(), (0,)), (act.Sqrt(), (1,))],
        [(arithmetic.Div(np.array(1.0), True), (0,))],
        [(act.Tanh(), (0,)), (DIV, (0, 1))],  # 0/0 at 0: bounded, and not provable here
        [(act.Exp(), (0,)), (act.Neg(), (0,)), (act.Exp(), (2,)), (ADD, (1, 3))],
        [(par.Pow(0.3), (0,))],
        [(add(1e12), (0,)), (add(-1e12), (1,)), (act.Sigmoid(), (2,)), (MUL, (0, 3))],  # float64 loses 1e-4 there
    ],
)
def test_what_has_no_bound_or_none_that_floats_keep_is_refused(steps: Steps) -> None:
    assert steepness(cone(steps).steps) is None


UNARY: list[Operator] = [
    *(act.Relu(), act.Tanh(), act.Softplus(), act.Softsign(), act.Abs(), act.Neg(), act.Sigmoid(), act.HardSwish()),
    *(act.Mish(), act.Erf(), act.Gelu(), act.Gelu("tanh"), par.LeakyRelu(0.1), par.LeakyRelu(-1.5), par.Elu(2.0)),
    *(par.Selu(), par.Celu(0.5), par.HardSigmoid(), par.Clip(-1.0, 2.0), par.Clip(None, 1.0), mul(-0.7), mul(3.0)),
    *(add(0.3), add(-2.0), arithmetic.Sub(np.array(1.0), True), arithmetic.Div(np.array(1.7))),
]


@pytest.mark.parametrize("operator", UNARY, ids=lambda operator: operator.name)
def test_one_operator_alone_has_its_own_constant(operator: Operator) -> None:
    """The interval rule of an operator against the rule it states itself, and against what it computes."""
    found = steepness((Step(operator, (0,)),))
    assert found is not None
    stated = operator.lipschitz((1,))
    upper = stated.upper if hasattr(stated, "upper") else abs(stated.coefficients[0])  # type: ignore[union-attr]
    assert found.upper <= upper * (1 + 5e-12)
    assert sampled([(operator, (0,))]) <= found.upper * (1 + 1e-12)


def expression(rng: np.random.Generator) -> Steps:
    """Four to seven operators, the last of them a meeting of two branches."""
    steps: Steps = []
    for i in range(int(rng.integers(3, 7))):
        if rng.random() < 0.3 and i:
            steps.append(([ADD, SUB, MUL][rng.integers(3)], tuple(map(int, rng.integers(0, i + 1, 2)))))
        else:
            steps.append((UNARY[rng.integers(len(UNARY))], (int(rng.integers(0, i + 1)),)))
    return [*steps, ([ADD, SUB, MUL][rng.integers(3)], (len(steps), int(rng.integers(0, len(steps)))))]


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


def test_softplus_with_a_guard_jumps_a_little() -> None:
    """torch's softplus is x beyond 20: there it falls by log(1 + e^-20), which the loss counts twice."""
    jump = math.log1p(math.exp(-20))
    for inner in (
        [(act.Softplus(), (0,))],
        [(act.Exp(), (0,)), (add(1.0), (1,)), (act.Log(), (2,))],
    ):
        last = len(inner)
        steps: Steps = [*inner, (thresholds.Greater(np.array(20.0)), (0,)), (CHOICE, (last + 1, 0, last))]
        found = steepness(cone(steps).steps)
        assert found is not None
        assert 1.0 <= found.upper <= 1 + 1e-11
        assert 2 * jump <= found.loss <= 5 * jump  # the cell that changes over may be counted with its neighbour


def test_a_continuous_choice_does_not_jump() -> None:
    """ELU by hand: x where it is positive, else exp(x) - 1."""
    steps: Steps = [
        (act.Exp(), (0,)),
        (add(-1.0), (1,)),
        (thresholds.Greater(np.array(0.0)), (0,)),
        (CHOICE, (3, 0, 2)),
    ]
    found = steepness(cone(steps).steps)
    assert found is not None
    assert 1.0 <= found.upper <= 1 + 1e-11
    assert found.loss < 1e-11


def test_thresholds_that_matter_are_refused() -> None:
    zero = mul(0.0)
    step: Steps = [(thresholds.Greater(np.array(0.5)), (0,))]
    masked: Steps = [*step, (MUL, (0, 1))]
    wavy: Steps = [
        (MUL, (0, 0)),
        (thresholds.Greater(np.array(0.0)), (1,)),
        (act.Tanh(), (0,)),
        (zero, (0,)),
        (CHOICE, (2, 3, 4)),
    ]
    for steps in (step, masked, wavy):
        assert steepness(cone(steps).steps) is None


# In a graph


def test_what_is_not_a_number_is_no_value_that_a_bound_may_overlook() -> None:
    """x + IsNaN(log x) jumps at 0, where the logarithm ends."""
    nodes = [
        node("Log", ["x"], "l"),
        node("IsNaN", ["l"], "n"),
        node("Cast", ["n"], "c", to=TensorProto.FLOAT),
        node("Add", ["c", "x"]),
    ]
    graph = read_onnx(model(nodes, (2,)))
    low, high = to_module(graph)(torch.tensor([[-1e-6, 1e-6]]))[0]
    assert low - high > 0.9
    assert [reason["operator"] for reason in methods(graph)[1]["reasons"]] == ["Log"]


def test_a_cone_is_one_node_and_the_graph_stays_as_it_was() -> None:
    nodes = [
        node("Gemm", ["x", "w"], "a"),
        node("Sigmoid", ["a"], "s"),
        node("Mul", ["a", "s"], "m"),
        node("Tanh", ["m"], "t"),
        node("Sub", ["m", "t"], "d"),
        node("Gemm", ["d", "v"]),
    ]
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(6, 8)).astype(np.float32), "v": rng.normal(size=(8, 3)).astype(np.float32)}
    data = model(nodes, (6,), weights)
    graph = read_onnx(data)
    assert [entry.operator.name for entry in graph.nodes] == ["Gemm", "Sigmoid", "Mul", "Tanh", "Sub", "Gemm"]
    fused = with_cones(graph)
    assert [(entry.operator.name, entry.index) for entry in fused.nodes] == [
        ("Gemm", 0),
        ("Cone", 2),
        ("Cone", 4),
        ("Gemm", 5),
    ]
    x = rng.normal(size=(5, 6)).astype(np.float32)
    expected = reference(data, x)
    for made in (graph, fused):
        assert relative_gap(to_module(made)(torch.from_numpy(x)).numpy(), expected) < 1e-5
    bound = network_bound(graph)
    norms = float(np.linalg.norm(weights["w"].astype(float), 2) * np.linalg.norm(weights["v"].astype(float), 2))
    assert bound.upper == pytest.approx(norms * 1.099839320129, rel=1e-5)
    assert methods(graph)[1] == {"kind": "lipschitz", "applies": True, "reasons": []}


def test_what_is_used_outside_the_cone_must_have_a_constant_itself() -> None:
    """x^3 is harmless inside of GELU's tanh; read by another node it is not."""
    inside = [
        node("Pow", ["x", "three"], "c"),
        node("Add", ["x", "c"], "u"),
        node("Tanh", ["u"], "t"),
        node("Add", ["t", "one"], "p"),
        node("Mul", ["x", "p"], "g"),
    ]
    constants = {"three": np.array(3, np.float32), "one": np.array(1, np.float32)}
    alone = read_onnx(model([*inside, node("Flatten", ["g"])], (6,), constants))
    assert methods(alone)[1]["applies"]
    leaking = read_onnx(model([*inside, node("Concat", ["g", "c"], axis=1)], (6,), constants))
    assert [reason["operator"] for reason in methods(leaking)[1]["reasons"]] == ["Pow"]


def test_loss_enters_the_forward_error() -> None:
    """A guard's jump is subtracted from every margin, times what follows."""
    steps: Steps = [(act.Softplus(), (0,)), (thresholds.Greater(np.array(20.0)), (0,)), (CHOICE, (2, 0, 1))]
    weight = np.eye(6, 3, dtype=np.float32) * 2
    graph = read_onnx(model([node("Relu", ["x"], "r"), node("Gemm", ["r", "w"])], (6,), {"w": weight}))
    relu, gemm = graph.nodes
    spelled = type(graph).build(
        graph.input, (6,), graph.output, [type(relu)(cone(steps), relu.inputs, relu.output, 0), gemm]
    )
    plain, guarded = network_bound(graph).error.at(1.0), network_bound(spelled).error.at(1.0)
    assert guarded >= 2 * math.log1p(math.exp(-20)) * math.sqrt(6) * 2
    assert plain < 1e-12


def test_a_file_full_of_different_functions_costs_a_bounded_number_of_searches() -> None:
    nodes, name, constants = [], "x", {}
    for i in range(MOST_SEARCHES + 5):
        constants[f"c{i}"] = np.array(0.5 + i / 1000, np.float32)
        nodes += [node("Mul", [name, f"c{i}"], f"k{i}"), node("Sigmoid", [f"k{i}"], f"s{i}")]
        nodes.append(node("Mul", [name, f"s{i}"], f"m{i}"))
        name = f"m{i}"
    graph = read_onnx(model([*nodes, node("Flatten", [name])], (6,), constants))
    reasons = methods(graph)[1]["reasons"]
    assert len(reasons) == 5
    assert {reason["operator"] for reason in reasons} == {"Mul"}


def test_what_a_cone_computes_stays_within_the_stated_error() -> None:
    """Logits in float64 against 60 digits, of a network whose activation is spelled out."""
    nodes = [
        node("Gemm", ["x", "w"], "a"),
        node("Div", ["a", "root"], "d"),
        node("Erf", ["d"], "e"),
        node("Add", ["e", "one"], "p"),
        node("Mul", ["a", "p"], "q"),
        node("Gemm", ["q", "v"]),
    ]
    rng = np.random.default_rng(2)
    constants = {
        "w": rng.normal(size=(6, 8)).astype(np.float32),
        "v": rng.normal(size=(8, 3)).astype(np.float32),
        "root": np.array(ROOT, np.float32),
        "one": np.array(1, np.float32),
    }
    graph = read_onnx(model(nodes, (6,), constants))
    error = network_bound(graph).error
    run = to_module(graph, dtype=torch.float64)
    with mp.workdps(60):
        root = mpf(float(constants["root"]))
        for scale in (1e-3, 1.0, 1e3):
            x = rng.normal(size=6) * scale
            hidden = [
                sum(mpf(float(w)) * mpf(float(t)) for w, t in zip(row, x, strict=True)) for row in constants["w"].T
            ]
            active = [a * (1 + mpmath.erf(a / root)) for a in hidden]
            exact = [sum(mpf(float(v)) * a for v, a in zip(row, active, strict=True)) for row in constants["v"].T]
            found = run(torch.from_numpy(x)[None])[0].tolist()
            gap = mpmath.sqrt(sum((mpf(z) - e) ** 2 for z, e in zip(found, exact, strict=True)))
            assert gap <= error.at(float(np.linalg.norm(x)))
