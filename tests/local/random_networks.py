"""A hunt for unsound bounds: random networks of all operators, evaluated at many inputs and attacked.

python -m tests.local.random_networks --count 2000 [--seed 0] [--first 0]

Values are computed in float64. Where one leaves its bounds, arithmetic with ends says whether the exact value does: the
bounds of the same network at that input alone, which lose what rounding may lose and no more.
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from torch import Tensor

from radii.attacks import NotAttackable, attack_network
from radii.graph import Graph, Node, read_onnx, to_module
from radii.graph.operator import Operator, Shape
from radii.graph.ops.activation import Abs, Exp, Gelu, HardSwish, Mish, Relu, Sigmoid, Softplus, Tanh
from radii.graph.ops.elementwise import Add, Div, Max, Mul, Sub
from radii.graph.ops.layout import Reshape, Transpose
from radii.graph.ops.linear import Linear, Product
from radii.graph.ops.normalization import LayerNormalization, LogSoftmax, Softmax
from radii.graph.ops.parametric import Clip, Elu, LeakyRelu
from radii.graph.ops.select import Concat
from radii.local import Effort, Network, NotRelaxable, certify
from radii.local.bounds import Bounds, margin_forms
from radii.local.region import Region
from radii.local.slack import certified
from radii.norms import Norm
from tests.graph.space import corpus
from tests.local.points import activations, points_within

NORMS: tuple[Norm, ...] = ("l2", "linf", "l1")
POINTS = 250  # of each of two balls
EACH = 12  # nodes of every operator in the pool
WIDEST = 96  # entries of an activation between blocks
FUNCTIONS = (Relu, Tanh, Sigmoid, Softplus, Abs, HardSwish, Mish, lambda: LeakyRelu(0.1), lambda: Elu(1.0))
MEANING = 1e-9  # of a step's inputs and output: how far float64 may be from the exact value of the step


@cache
def pool(each: int) -> list[Graph]:
    """Networks of one operator that have bounds: so many of each operator, with what it reads."""
    found = []
    for case in corpus(each):
        graph = read_onnx(case.data())
        with contextlib.suppress(NotRelaxable):
            Network.of(graph)
            found.append(graph)
    return found


@dataclass
class Draft:
    """A network that is being drawn."""

    rng: np.random.Generator
    operators: list[Graph]
    shape: Shape
    nodes: list[Node] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shapes["x"] = self.shape

    def put(self, operator: Operator, *inputs: str) -> str:
        """One more node; the name of what it makes."""
        output = f"n{len(self.nodes)}"
        self.shapes[output] = operator.shape(*(self.shapes[name] for name in inputs))
        self.nodes.append(Node(operator, inputs, output, len(self.nodes)))
        return output

    def shaped(self, name: str, shape: Shape) -> str:
        return name if self.shapes[name] == shape else self.put(Reshape(shape), name)

    def dense(self, name: str, shape: Shape) -> str:
        """A dense layer to any shape; a third of them have weights of another size."""
        n, m = int(np.prod(self.shapes[name])), int(np.prod(shape))
        scale = 10.0 ** self.rng.uniform(-30, 30) if self.rng.random() < 0.3 else 1.0
        weight = self.rng.standard_normal((m, n)) * (scale / n**0.5)
        bias = self.rng.standard_normal(m) * self.rng.choice([0.3, scale, 0.0])
        return self.shaped(self.put(Linear(_stored(weight), _stored(bias)), self.shaped(name, (n,))), shape)

    def function(self, name: str) -> str:
        return self.put(FUNCTIONS[self.rng.integers(len(FUNCTIONS))](), name)

    def operator(self, name: str) -> str:
        """A node of the pool, behind a dense layer unless its input fits."""
        graph = self.operators[self.rng.integers(len(self.operators))]
        names = {graph.input: name if self.shapes[name] == graph.input_shape else self.dense(name, graph.input_shape)}
        for node in graph.nodes:
            names[node.output] = self.put(node.operator, *(names[source] for source in node.inputs))
        return names[graph.output]

    def residual(self, name: str) -> str:
        inner = self.block(name, 1)
        return self.put(Add() if self.rng.random() < 0.7 else Sub(), name, self.dense(inner, self.shapes[name]))

    def larger(self, name: str) -> str:
        return self.put(Max(), name, self.dense(name, self.shapes[name]))

    def product(self, name: str) -> str:
        return self.put(Mul(), name, self.function(self.dense(name, self.shapes[name])))

    def quotient(self, name: str) -> str:
        """By a positive activation."""
        divisor = self.put(Exp() if self.rng.random() < 0.5 else Sigmoid(), self.dense(name, self.shapes[name]))
        return self.put(Div(), name, self.put(Add(_stored(np.array(0.1))), divisor))

    def beside(self, name: str) -> str:
        parts = [self.shaped(part, (int(np.prod(self.shapes[part])),)) for part in (name, self.block(name, 1))]
        return self.put(Concat(0), *parts)

    def attention(self, name: str) -> str:
        """A block of a transformer: attention, a residual sum, a layer norm, a feed-forward layer, the like again."""
        tokens, width = (int(size) for size in self.rng.integers(2, 5, 2))
        x = self.dense(name, (tokens, width))
        q, k, v = (self.dense(x, (tokens, width)) for _ in range(3))
        weights = self.put(Softmax(1, False), self.put(Product(), q, self.put(Transpose((1, 0)), k)))
        norm = LayerNormalization(_stored(self.rng.standard_normal(width)), None, 1, 10.0 ** self.rng.integers(-5, 0))
        x = self.put(norm, self.put(Add(), x, self.put(Product(), weights, v)))
        inner = self.put(Gelu("none"), self.dense(x, (2 * tokens, width)))
        return self.put(Add(), x, self.dense(inner, (tokens, width)))

    def block(self, name: str, most: int) -> str:
        """A few of these, one behind the other."""
        if np.prod(self.shapes[name]) > WIDEST:
            name = self.dense(name, (8,))
        for _ in range(self.rng.integers(1, most + 1)):
            kinds = [self.operator, self.operator, self.operator, self.function, self.product, self.larger]
            kinds += [self.quotient, self.attention, self.residual, self.beside] if most > 1 else []
            name = kinds[self.rng.integers(len(kinds))](name)
        return name

    def graph(self) -> Graph:
        name = self.block("x", 4)
        name = self.dense(name, (int(self.rng.integers(2, 6)),))
        end = self.rng.random()
        if end < 0.2:
            name = self.put(Softmax(0, False) if end < 0.1 else LogSoftmax(0, False), name)
        elif end < 0.3:
            name = self.put(Clip(-3.0, 3.0), name)
        return Graph.build("x", self.shape, name, self.nodes)


def _stored(values: np.ndarray) -> np.ndarray:
    """As files hold them."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.clip(values, -3e38, 3e38), np.float32)


def drawn(operators: list[Graph], seed: int, i: int) -> tuple[Network, np.random.Generator]:
    """The i-th network of a seed."""
    rng = np.random.default_rng([seed, i])
    while True:
        front = operators[rng.integers(len(operators))].input_shape
        shape = (int(rng.integers(2, 11)),) if rng.random() < 0.6 or np.prod(front) > WIDEST else front
        try:
            return Network.of(Draft(rng, operators, shape).graph()), rng
        except NotRelaxable:  # infinite constants
            continue


@contextlib.contextmanager
def switches(rng: np.random.Generator) -> Iterator[None]:
    """What a process may have set before it asks for bounds."""
    before = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    torch.set_default_dtype((torch.float32, torch.float64, torch.float16)[rng.integers(3)])
    torch.set_float32_matmul_precision(("highest", "high", "medium")[rng.integers(3)])
    torch.set_flush_denormal(bool(rng.integers(2)))
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=bool(rng.integers(2))):
            yield
    finally:
        torch.set_default_dtype(before[0])
        torch.set_float32_matmul_precision(before[1])
        torch.set_flush_denormal(False)


@dataclass
class Found:
    """What was looked at, and what is wrong."""

    wrong: list[str] = field(default_factory=list)
    evaluations: int = 0
    finite: float = 0.0  # share of the activations' entries that have both ends
    radii: int = 0
    attacks: int = 0
    doubted: int = 0  # values that float64 has outside of their bounds, and the exact value may not be


def checked(network: Network, rng: np.random.Generator) -> Found:
    """Bounds over two balls, and the radii of both centres."""
    found = Found()
    x = _centres(network, rng)
    labels = _values(network, x)[network.relaxed.output].argmax(1)
    norm = NORMS[rng.integers(3)]
    with switches(rng):
        _check_bounds(network, x, labels, norm, rng, found)
        _check_radii(network, x, labels, norm, rng, found)
    return found


def _values(network: Network, points: np.ndarray) -> dict[str, Tensor]:
    with torch.autocast("cpu", enabled=False):
        return activations(network, points)


def _centres(network: Network, rng: np.random.Generator) -> np.ndarray:
    """The two inputs of the clearest classes, relative to the logits, of sixteen."""
    x = rng.standard_normal((16, *network.relaxed.input_shape)) * 10.0 ** rng.uniform(-1, 1)
    z = np.sort(np.nan_to_num(_values(network, x)[network.relaxed.output].numpy()), axis=1)
    with np.errstate(all="ignore"):
        clear = np.nan_to_num((z[:, -1] - z[:, -2]) / np.abs(z).max(1))
    return x[np.argsort(-clear)[:2]]


def _check_bounds(
    network: Network, x: np.ndarray, labels: Tensor, norm: Norm, rng: np.random.Generator, found: Found
) -> None:
    eps = 10.0 ** rng.uniform(-3, 0.3, 2)
    output = network.relaxed.output
    with certified(network.device), torch.no_grad():
        ascent = 2 if rng.random() < 0.2 else 0
        region = Region.ball(torch.from_numpy(x), torch.from_numpy(eps), norm)
        bounds = Bounds(network, region, ascent=ascent).forward()
        least = bounds.least(output, margin_forms(labels, network.graph.num_classes))
    ends = [(part.lo.isfinite() & part.hi.isfinite()).double().mean() for part in bounds.intervals.values()]
    found.finite = float(torch.stack(ends).mean())
    for i, centre in enumerate(x):
        points = points_within(centre, float(eps[i]), norm, POINTS, rng)
        values = _values(network, points)
        found.evaluations += len(points)
        doubted = {
            name: (value < bounds.intervals[name].lo[i]) | (value > bounds.intervals[name].hi[i])
            for name, value in values.items()
        }
        z = values[output]
        margins = z[:, labels[i], None] - z < least[i]
        rows = margins.any(1)
        for places in doubted.values():
            rows = rows | places.flatten(1).any(1)
        found.doubted += int(rows.sum())
        rows[:2] = True  # where the meaning of every step is looked at
        chosen = points[rows.numpy()]
        alone = _alone(network, chosen)
        for name, part in alone.intervals.items():
            ball = bounds.intervals[name]
            if bool(((part.lo > ball.hi[i]) | (part.hi < ball.lo[i])).any()):
                found.wrong.append(f"{name} leaves its interval")
        _check_meaning(network, alone, {name: value[rows] for name, value in values.items()}, found)
        most = _margins_at_most(alone, int(labels[i]))
        if bool((most < least[i]).any()):
            found.wrong.append("a margin is below its bound")


def _check_meaning(network: Network, alone: Bounds, values: dict[str, Tensor], found: Found) -> None:
    """Whether float64's value of every step is that of its bounds."""
    for step in network.steps:
        value, part = values[step.node.output], alone.intervals[step.node.output]
        size = sum(values[name].flatten(1).abs().amax(1) for name in step.node.inputs)
        room = MEANING * (value.abs() + torch.as_tensor(size).reshape(-1, *[1] * (value.ndim - 1)))
        room = torch.where((part.hi - part.lo).isfinite(), room + 64 * (part.hi - part.lo), torch.inf)
        if bool(((value < part.lo - room) | (value > part.hi + room)).any()):
            found.wrong.append(f"{step.operator.name} is not what float64 makes of it")


def _alone(network: Network, points: np.ndarray) -> Bounds:
    """Enclosures of the exact values at single inputs."""
    with certified(network.device), torch.no_grad():
        region = Region.ball(torch.from_numpy(points), torch.zeros(len(points), dtype=torch.float64), "linf")
        return Bounds(network, region, sharpen=False).forward()


def _margins_at_most(alone: Bounds, label: int) -> Tensor:
    """(N, classes) above the exact ``z_label - z_j`` at single inputs."""
    labels = torch.full((len(alone.region.lo),), label)
    with certified(alone.network.device), torch.no_grad():
        return -alone.least(alone.network.relaxed.output, -margin_forms(labels, alone.network.graph.num_classes))


def _check_radii(
    network: Network, x: np.ndarray, labels: Tensor, norm: Norm, rng: np.random.Generator, found: Found
) -> None:
    effort: Effort = "default" if rng.random() < 0.1 else "quick"
    box = (float(x.min()) - 0.1, float(x.max()) + 0.1) if rng.random() < 0.2 else None
    results = certify(network, x, labels.numpy(), norm=norm, effort=effort, box=box, ceiling=[1e6, 1e6])
    module = to_module(network.graph, dtype=torch.float64)

    def classifier(points: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            made: Tensor = module(points if box is None else points.clamp(*box))
        return made

    for centre, label, result in zip(x, labels.tolist(), results, strict=True):
        if not result.radius:
            continue
        found.radii += 1
        points = points_within(centre, result.radius, norm, POINTS, rng)
        points = points if box is None else np.clip(points, *box)
        z = _values(network, points)[network.relaxed.output]
        found.evaluations += len(points)
        wrong = points[(z.argmax(1) != label).numpy()]
        with contextlib.suppress(NotAttackable):
            attack = attack_network(
                classifier, torch.from_numpy(centre), prediction=label, radius=result.radius, norm=norm, steps=6
            )
            found.attacks += 1
            if attack.contradicted and attack.x is not None:
                x_found = np.asarray(attack.x, np.float64) if box is None else np.clip(attack.x, *box)
                wrong = np.concatenate([wrong, x_found.reshape(1, *centre.shape)])
        if len(wrong):
            found.doubted += len(wrong)
            most = _margins_at_most(_alone(network, wrong), label)
            most[:, label] = torch.inf
            if bool((most < 0).any()):
                found.wrong.append(f"another class within the {norm} radius {result.radius} ({effort})")


def main() -> None:
    """Print what is wrong, and what was looked at."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    chosen = parser.parse_args()
    started, total, bad = time.monotonic(), Found(), 0
    for i in range(chosen.first, chosen.first + chosen.count):
        network, rng = drawn(pool(EACH), chosen.seed, i)
        found = checked(network, rng)
        total.evaluations += found.evaluations
        total.radii, total.attacks = total.radii + found.radii, total.attacks + found.attacks
        total.doubted, total.finite = total.doubted + found.doubted, total.finite + found.finite
        if found.wrong:
            bad += 1
            names = " ".join(step.operator.name for step in network.steps)
            print(f"network {i}: {'; '.join(sorted(set(found.wrong)))}\n    {names}", flush=True)
    print(
        f"networks {chosen.first} to {chosen.first + chosen.count - 1} of seed {chosen.seed}: {bad} wrong; "
        f"{total.evaluations} evaluations, {total.radii} radii, {total.attacks} attacks; "
        f"{total.finite / max(chosen.count, 1):.0%} of intervals finite, {total.doubted} values looked at twice; "
        f"{time.monotonic() - started:.0f} s"
    )
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
