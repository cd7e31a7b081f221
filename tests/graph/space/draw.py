"""How a space draws its cases: values by the names of ONNX, spelled as the opset has them."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from radii.graph.reader import NEWEST, OLDEST
from tests.graph.case import Case

OPSETS = range(OLDEST, NEWEST + 1)
ALIASES = {"value": "constant_value", "k": "K"}  # an attribute, and the input that it became

FACTOR = int(os.environ.get("RADII_TEST_FACTOR", "1"))

Draws = Callable[["Draw"], Case]


@dataclass(frozen=True)
class Space:
    """All that a node of one operator can be: how a case is drawn, and what is known of them.

    Attributes:
        refused: matches the reasons of what onnxruntime runs and we refuse on purpose.
        accepted: matches the messages of onnxruntime about what it does not run and we do, on purpose.
        tight: of a linear operator, how much the bound may exceed its matrix' norm; None: it is not linear.
    """

    draws: Draws
    refused: str = ""
    accepted: str = ""
    tight: float | None = None


SPACES: dict[str, Space] = {}


def space(*operators: str, **known: Any) -> Callable[[Draws], Draws]:
    """Make a function the space of one operator, or of several that take the same."""

    def register(draws: Draws) -> Draws:
        SPACES.update({operator: Space(draws, **known) for operator in operators})
        return draws

    return register


def schema(operator: str, opset: int) -> onnx.defs.OpSchema | None:
    """What ONNX says of an operator at an opset; None: there it is not, or no more."""
    try:
        found = onnx.defs.get_schema(operator, opset)
    except onnx.defs.SchemaError:
        return None
    return None if found.deprecated else found


def examples(count: int, *, fresh: bool = FACTOR > 1) -> settings:
    """So many examples, the same every time; ``fresh``: FACTOR times as many, others every time."""
    return settings(
        max_examples=count * (FACTOR if fresh else 1),
        deadline=None,
        derandomize=not fresh,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def versions(operator: str) -> dict[int, list[int]]:
    """The opsets that have an operator, by the version of it that they have."""
    found: dict[int, list[int]] = {}
    for opset in OPSETS:
        known = schema(operator, opset)
        if known is not None:
            found.setdefault(known.since_version, []).append(opset)
    return found


def cases(operator: str, version: int | None = None) -> st.SearchStrategy[Case]:
    """Cases of an operator, of one version or of all."""
    opsets = [opset for since, opsets in versions(operator).items() if version in (None, since) for opset in opsets]

    @st.composite
    def drawn(draw: st.DrawFn) -> Case:
        return SPACES[operator].draws(Draw(draw, operator, draw(st.sampled_from(opsets))))

    return drawn()


@dataclass(frozen=True)
class Draw:
    """Draws one case of ``operator`` at ``opset``."""

    draw: st.DrawFn
    operator: str
    opset: int

    def one(self, *choices: Any) -> Any:
        """One of these."""
        return self.draw(st.sampled_from(choices))

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def integers(self, count: int, low: int, high: int) -> list[int]:
        return self.draw(st.lists(st.integers(low, high), min_size=count, max_size=count))

    def number(self, low: float, high: float) -> float:
        """A number that float32 has: half of the time a round one."""
        if self.one(True, False):
            return float(self.integer(int(np.ceil(low)), int(np.floor(high))))
        return self.draw(st.floats(low, high, width=32, allow_subnormal=False))

    def maybe(self, value: Any) -> Any:
        """The value, or nothing."""
        return self.one(value, None)

    def shape(self, low: int, high: int, largest: int = 4) -> tuple[int, ...]:
        """The shape of a sample with ``low`` to ``high`` axes."""
        sizes = [2, *(size for size in range(1, largest + 1) if size != 2)]  # the simplest has two classes
        return tuple(self.one(*sizes) for _ in range(self.integer(low, high)))

    def image(self, channels: int, axes: int, largest: int = 6) -> tuple[int, ...]:
        sizes = [min(4, largest), *range(1, largest + 1)] if axes < 3 else [3, 1, 2]
        return (channels, *(self.one(*sizes) for _ in range(axes)))

    def axis(self, shape: Sequence[int]) -> int:
        """An axis of a sample of this shape, counted from either side; 0 is the batch."""
        return self.one(*range(1, len(shape) + 1), *range(-len(shape), 0))

    def axes(self, shape: Sequence[int], fewest: int = 1) -> list[int]:
        """Different axes of a sample, in any order, counted from either side."""
        rank = len(shape) + 1
        found = self.draw(st.lists(st.integers(1, rank - 1), min_size=fewest, max_size=rank - 1, unique=True))
        return [self.one(axis, axis - rank) for axis in found]

    def floats(self, *shape: int) -> np.ndarray:
        return np.random.default_rng(self.integer(0, 999)).normal(size=shape).astype(np.float32)

    def positive(self, *shape: int) -> np.ndarray:
        return np.abs(self.floats(*shape)) + np.float32(0.1)

    def broadcast(self, shape: Sequence[int], *, grow: bool = True) -> tuple[int, ...]:
        """A shape to be broadcast with a sample's: with the batch axis, or with fewer axes; ``grow``: also larger."""
        full = [
            self.one(1, size, *((3,) if grow and size == 1 else ()))  # where the sample has one entry, more
            for size in shape
        ]
        return self.one((1, *full), *(tuple(full[i:]) for i in range(len(full) + 1)))

    def operands(self, shape: Sequence[int], count: int, *, first: str = "x") -> tuple[Any, ...]:
        """Operands of an arithmetic operator in any order: the input, others like it, constants."""
        others = [self.one("r", "p", "x", *(("m",) if len(shape) > 1 else ()), None) for _ in range(count - 1)]
        values = [first, *(self.positive(*self.broadcast(shape)) if o is None else o for o in others)]
        return tuple(self.draw(st.permutations(values)))

    def case(self, *inputs: Any, shape: Sequence[int], outputs: int = 1, output: int = 0, **named: Any) -> Case:
        """A case of these inputs and of values by name: attributes where the opset has them, inputs where not.

        What the opset knows neither as the one nor as the other is left out, as is what is None.
        """
        known = schema(self.operator, self.opset)
        assert known is not None
        positions = {entry.name: i for i, entry in enumerate(known.inputs)}
        attributes: dict[str, Any] = {}
        values = list(inputs)
        for name, value in named.items():
            position = positions.get(name, positions.get(ALIASES.get(name, name)))
            if value is None or (name in known.attributes and np.size(value) == 0):
                continue
            if name in known.attributes:
                attributes[name] = value.tolist() if isinstance(value, np.ndarray) else value
            elif position is not None:
                values += [""] * (position + 1 - len(values))
                values[position] = np.asarray(value, None if isinstance(value, np.ndarray) else _type(value))
        return Case(self.operator, attributes, tuple(values), tuple(shape), self.opset, outputs, output)


def _type(value: Any) -> type:
    if isinstance(value, bool):
        return np.bool_
    return np.float32 if any(isinstance(entry, float) for entry in np.ravel(value).tolist()) else np.int64
