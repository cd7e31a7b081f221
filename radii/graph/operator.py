"""What an operator is: how it is read, run, what shape it makes, its Lipschitz rule, and all facts about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from radii.graph.call import Call
from radii.graph.pen import Pen, Unwritable
from radii.graph.rules import Convolution, Rule

if TYPE_CHECKING:
    from torch import Tensor

    from radii.graph.cone.decision import Decision
    from radii.graph.cone.jet import Jet
    from radii.graph.order import Given, Known
    from radii.graph.views import View

Shape = tuple[int, ...]


def absolute(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Constants without their signs; integers, which are places, as they are."""
    return {name: array.abs() if array.is_floating_point() else array for name, array in arrays.items()}


@dataclass(frozen=True, eq=False)
class Operator:
    """One ONNX operator: how it is read, run, what shape it makes, and its Lipschitz rule.

    A subclass is named like its ONNX operator and is a frozen dataclass; its array fields are its
    constants, the others its attributes (JSON values). It sees its activation inputs only, in the file's order.
    """

    attributes: ClassVar[Mapping[str, str]] = {}  # the ONNX attributes known: name -> kind (see `Call`)
    most_inputs: ClassVar[int] = 1  # the inputs its node may have, constants included
    takes_list: ClassVar[bool] = False  # whether its inputs are a list, of which none may be left out
    many_outputs: ClassVar[bool] = False  # whether others than the first may be read, each as an operator of its own
    is_node: ClassVar[bool] = True  # False: it never stands in a graph, since it is always read as another operator
    is_idle: ClassVar[bool] = False  # whether it does nothing, so that the reader leaves it out
    lifts_constants: ClassVar[bool] = False  # whether constants among its inputs become activations
    activations: ClassVar[tuple[int, int]] = (1, 1)  # the fewest and the most that it reads
    array_kinds: ClassVar[Mapping[str, str]] = {}  # of constants that are no floats: field name -> f, i or b
    finite_where_used: ClassVar[bool] = False  # whether it may hold what is not finite, if no output needs it
    # What holds of its output, for bounds to build on; all of it of what `run` computes in floating point too:
    exact: ClassVar[bool] = False  # it holds no new number: some of the inputs', their sign changed, or 0 and 1
    copies: ClassVar[bool] = False  # each entry is one of the inputs'
    keeps_order: ClassVar[bool] = False  # and each of its only input's is there once, in the order of memory
    entrywise: ClassVar[bool] = False  # each entry is the same function of the input's entry there
    # and in real arithmetic, of an operator with one input whose rule is a sum, or a slope without loss:
    linear: ClassVar[bool] = False  # it is linear in the input, but for a constant
    diagonal: ClassVar[bool] = False  # and each entry is a multiple of the input's entry there, where shapes agree
    averages: ClassVar[bool] = False  # and each entry is a mean of some of the input's
    adds: ClassVar[str | None] = None  # it is 0 at 0 but for this array, each of whose entries is added equally often
    picks: ClassVar[int] = 0  # 1: each entry is the largest of the `choices` there; -1: the smallest
    is_probability: ClassVar[bool] = False  # it is a logit's probability: 1/2 at 0, and rising
    zero_at_zero: ClassVar[bool] = False  # where all inputs are 0 the output is
    takes_decisions: ClassVar[bool] = False  # whether `on_cells` tells truth values from the numbers 0 and 1
    written_as_is: ClassVar[bool] = False  # whether its fields are the attributes of ONNX's operator of its name
    behaviour: ClassVar[str]  # its Lipschitz constant, in words

    def __post_init__(self) -> None:
        for array in self.arrays().values():
            array.flags.writeable = False

    @property
    def name(self) -> str:
        """The operator's name in ONNX."""
        return type(self).__name__

    @classmethod
    def narrowed(cls, call: Call) -> Call:
        """The node that is read instead: the same function, without inputs that never matter."""
        return call

    # What raises NotImplementedError, here and in families of operators, is abstract: whoever is asked has its own, as
    # the tests find that ask all. An abstract class would refuse those that lack what they are never asked.

    @classmethod
    def read(cls, call: Call) -> Operator:
        """What one node of a file does. Raises `Refusal` for what it can't honour exactly."""
        raise NotImplementedError

    @classmethod
    def read_in_steps(cls, call: Call) -> tuple[Operator, ...]:
        """The same as operators one after another, of which only the first may read several activations."""
        return (cls.read(call),)

    @classmethod
    def of_constants(cls, call: Call) -> np.ndarray | None:
        """What it makes of constants alone; None: what it makes of an activation."""
        return None

    @classmethod
    def relabelled(cls, call: Call) -> Shape | None:
        """The file's shape of its output, where entries lie in memory as its input's do; None: they need not.

        Here and in `viewed` the file's batch is an axis like any other (:mod:`radii.graph.fixed_batch`).
        """
        return None

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        """How it is read beside a batch of ours (:mod:`radii.graph.views`); None: it can't be."""
        return None

    def check(self, *inputs: Shape) -> None:
        """Raises `Refusal` unless the fields are such that all below holds for inputs of these shapes.

        A node may come from a stranger's graph.json (docs/graph-format.md), so nothing is known of the fields but
        their types, that numbers are finite and arrays not empty. What the shapes' own arithmetic raises need not be
        foreseen: see `radii.graph.admission`. Must neither allocate nor loop in proportion to a size that is given.
        """
        raise NotImplementedError(f"{type(self).__name__} has no rule of admission")

    def scratch(self, *inputs: Shape) -> int:
        """The most entries a sample that `run` holds at once beside its inputs and its output, where that is much."""
        return 0

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        """The output for inputs of shape (batch, *shape); ``arrays`` are `arrays` as tensors.

        It looks at no array of its own: where that lies in bytes that nobody may change, torch.compile can't trace it.
        """
        raise NotImplementedError

    def shape(self, *inputs: Shape) -> Shape:
        """The output's shape a sample. Raises `Refusal` where the inputs' shapes do not fit."""
        raise NotImplementedError

    def lipschitz(self, *inputs: Shape) -> Rule:
        """The Lipschitz rule, given the shapes of the inputs a sample."""
        raise NotImplementedError

    def order(self, *inputs: Given) -> Known | None:
        """What is known of its output, in the terms of :mod:`radii.graph.order`; None: nothing."""
        return None

    def on_cells(self, *args: Any, **kwargs: Any) -> Jet | Decision:
        """What it makes of its inputs on cells (:mod:`radii.graph.cone`); only of functions of every entry alone."""
        raise NotImplementedError

    @property
    def has_cells(self) -> bool:
        """Whether it says so."""
        return type(self).on_cells is not Operator.on_cells

    def factors(self, shape: Shape) -> np.ndarray | None:
        """(channels,) factors, where all that it does to samples of this shape, an offset aside, is multiply channels
        by them; None: it does more, or constants are no numbers a channel."""
        return None

    def hinge(self) -> tuple[float, float] | None:
        """The slopes below and above 0 of a function of every entry that is 0 at 0 and linear on both sides of it, the
        only thing that it does; None: it is no such function, or not known to be."""
        return None

    def sides(self, arrays: Mapping[str, Tensor]) -> tuple[Tensor | float, Tensor | float] | None:
        """The same where entries differ in their slopes: numbers, or tensors to be broadcast with a sample."""
        return self.hinge()

    def choices(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor], absent: float) -> Tensor:
        """(batch, *output shape, K) entries of the inputs and the constants, of which each of the output picks one;
        ``absent`` where there are fewer."""
        raise NotImplementedError

    def convolution(self, *inputs: Shape) -> Convolution | None:
        """The convolution that it is, its weights rounded a few times; None: it is none, or its rule says so."""
        return None

    def linear_part(self, x: np.ndarray) -> np.ndarray | None:
        """What a linear operator makes of float64 inputs (batch, *shape) without its offset; None: `run` tells."""
        return x.reshape(len(x), *self.shape(x.shape[1:])) if self.keeps_order else None

    def magnitude(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor | None:
        """Of an operator ``sum W_i x_i + b``: ``sum |W_i| m_i + |b|``, for inputs m_i >= 0; None: it is no such one.

        As `run` rounds it, of sums of as many addends.
        """
        return self.run(inputs, absolute(arrays)) if self.is_affine(len(inputs)) else None

    def is_affine(self, inputs: int) -> bool:
        """Whether it is linear in so many inputs, but for a constant, as far as `magnitude` by default knows."""
        return self.copies or (inputs == 1 and (self.linear or self.adds is not None))

    def transposed(self, form: Tensor, arrays: Mapping[str, Tensor], *inputs: Shape) -> tuple[Tensor | None, ...]:
        """``W_i^T a`` for each input of such an operator, given a (batch, *output shape); None: it does not read it."""
        import torch

        with torch.enable_grad():
            zeros = [form.new_zeros((len(form), *shape), requires_grad=True) for shape in inputs]
            made = self.run(zeros, arrays)
            if not made.requires_grad:
                return (None,) * len(inputs)
            return torch.autograd.grad(made, zeros, form, create_graph=form.requires_grad, allow_unused=True)

    def write(self, pen: Pen, inputs: list[str], output: str, shapes: Sequence[Shape]) -> None:
        """Write it as nodes of ONNX that make ``output`` of ``inputs``, of these shapes. Raises `Unwritable`."""
        if not self.written_as_is:
            raise Unwritable(f"{self.name} can't be written")
        pen.node(type(self).__name__, inputs, output, **self.settings())

    def multiply_adds(self, *inputs: Shape) -> int:
        """Multiply-adds a sample; elementwise work is not counted."""
        return 0

    def arrays(self) -> dict[str, np.ndarray]:
        """The constants, read-only, by field name."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if isinstance(value, np.ndarray)}

    def absorbable(self, shape: Shape) -> tuple[np.ndarray, np.ndarray] | None:
        """(scale, offset) of each channel of samples of this shape, for the layer before to absorb by `rescaled`."""
        return None

    def rescaled(self, scale: np.ndarray, offset: np.ndarray, output: Shape) -> Operator | None:
        """This operator followed by ``scale * y + offset`` on axis 1 of its output, or None: it can't absorb that."""
        return None

    def settings(self) -> dict[str, Any]:
        """The attributes as JSON values, by field name."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {
            name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
            for name, value in values
            if not isinstance(value, np.ndarray)
        }
