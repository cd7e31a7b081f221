"""Attention (since opset 23) and Einsum."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_letters
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import torch

from radii.graph.bounds import slope
from radii.graph.call import Activation, Call
from radii.graph.errors import Refusal, hold
from radii.graph.operator import Operator, Shape
from radii.graph.ops.registry import onnx_operator
from radii.graph.rules import Dense, Matrices, Rule, Slope, Unbounded
from radii.graph.views import View, by_channel, not_beside_channels, shifted

if TYPE_CHECKING:
    from torch import Tensor

PRODUCT = Unbounded("it multiplies two activations, which has no global Lipschitz constant", "Use smoothing")


@onnx_operator(
    inputs=4,
    is_causal="flag",
    kv_num_heads="int",
    q_num_heads="int",
    qk_matmul_output_mode="int",
    scale="float",
    softcap="float",
    softmax_precision="int",
)
@dataclass(frozen=True, eq=False)
class Attention(Operator):
    """``softmax(scale Q K^T + mask) V`` a head; a sample of Q is (heads, length, size) or (length, heads * size)."""

    behaviour = "unbounded: smoothing only"
    activations = (3, 3)
    array_kinds = MappingProxyType({"mask": "fb"})
    mask: np.ndarray | None  # added to the scores, or truth values: where they may be looked at
    heads: int
    groups: int  # heads of K and V
    scale: float
    causal: bool

    @classmethod
    def read(cls, call: Call) -> Operator:
        q, k, v = (call.activation(i) for i in range(3))
        mask = call.constant(3)
        if call.get("softcap", 0.0) or call.get("qk_matmul_output_mode", 0):
            raise Refusal("softcap and outputs of the scores are not supported", "Write the attention out")
        if not q.rank == k.rank == v.rank or q.rank not in (3, 4):
            raise Refusal("Q, K and V must all have 3 axes, or all 4", "Export the model again")
        if q.rank == 4:
            heads, groups = q.shape[0], k.shape[0]
        else:
            heads, groups = call.get("q_num_heads", 0), call.get("kv_num_heads", 0)
        size = q.shape[2] if q.rank == 4 else q.shape[1] // max(1, heads)
        scale = float(call.get("scale", 1 / math.sqrt(max(1, size))))
        if mask is not None:
            if mask.ndim == 4 and mask.shape[0] != 1:
                raise Refusal("the mask must be the same for every sample", "Use such a mask")
            mask = mask[0] if mask.ndim == 4 else mask
            if call.opset >= 24 and mask.shape[-1:] == (1,) and k.shape[-2] > 1:
                raise Refusal("the mask has one column: opset 24 leaves open whether it is repeated", "Write it out")
        return cls(mask, heads, groups, scale, bool(call.get("is_causal", 0)))

    def check(self, *inputs: Shape) -> None:
        ranks = {len(x) for x in inputs}
        hold(ranks in ({2}, {3}), "Q, K and V must all have 2 axes a sample, or all 3")
        heads, groups = self.heads, self.groups
        hold(1 <= groups <= heads and heads % groups == 0, f"{heads} heads meet keys and values of {groups}")
        for x, parts in zip(inputs, (heads, groups, groups), strict=True):
            hold(x[0] == parts if len(x) == 3 else x[1] % parts == 0, f"an input does not have {parts} heads")
        if self.mask is not None:
            scores = self.scores(*inputs)
            hold(np.broadcast_shapes(self.mask.shape, scores) == scores, "the mask does not fit the scores")
            if self.mask.dtype.kind == "b":
                seen = self.mask & np.tril(np.ones(scores[-2:], dtype=np.bool_)) if self.causal else self.mask
                hold(bool(seen.any(axis=-1).all()), "its mask leaves a query nothing to look at", "Use another mask")

    def scores(self, *inputs: Shape) -> Shape:
        """The shape a sample of the scores: (heads, length of Q, length of K)."""
        return (self.heads, self.split(inputs[0], self.heads)[1], self.split(inputs[1], self.groups)[1])

    def scratch(self, *inputs: Shape) -> int:
        repeated = sum(math.prod(x) for x in inputs[1:]) * (self.heads // self.groups)
        return math.prod(self.scores(*inputs)) + (repeated if self.heads != self.groups else 0)

    @staticmethod
    def split(shape: Shape, heads: int) -> Shape:
        """(heads, length, size) of a sample of Q, K or V."""
        if len(shape) == 3:
            return shape
        return (heads, shape[0], shape[1] // heads)

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        flat = inputs[0].ndim == 3
        q, k, v = inputs
        if flat:
            q, k, v = (
                x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)
                for x, heads in zip(inputs, (self.heads, self.groups, self.groups), strict=True)
            )
        if self.groups != self.heads:
            k, v = (x.repeat_interleave(self.heads // self.groups, dim=1) for x in (k, v))
        scores = self.scale * (q @ k.transpose(-1, -2))
        mask = arrays.get("mask")
        if mask is not None:
            scores = scores + mask if mask.is_floating_point() else scores.masked_fill(~mask.bool(), -math.inf)
        if self.causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(later, -math.inf)
        y = torch.softmax(scores, dim=-1) @ v
        return y.transpose(1, 2).flatten(2) if flat else y

    def shape(self, *inputs: Shape) -> Shape:
        q, k, v = (self.split(x, n) for x, n in zip(inputs, (self.heads, self.groups, self.groups), strict=True))
        if q[2] != k[2] or k[1] != v[1] or k[0] != v[0]:
            raise Refusal("the shapes of Q, K and V do not fit", "Export the model again")
        return (*q[:2], v[2]) if len(inputs[0]) == 3 else (q[1], q[0] * v[2])

    def lipschitz(self, *inputs: Shape) -> Rule:
        return PRODUCT

    def multiply_adds(self, *inputs: Shape) -> int:
        q, k, v = (self.split(x, n) for x, n in zip(inputs, (self.heads, self.groups, self.groups), strict=True))
        return q[0] * q[1] * k[1] * (q[2] + v[2])

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        if len(call.activations()[0].shape) != 4:
            raise not_beside_channels()
        view, mask = by_channel(call), call.constant(3)  # rows are heads
        if mask is None or mask.ndim <= 2:
            return view
        full = (*call.activations()[0].shape[:2], *mask.shape[-2:])
        call.limits.check_made(full, mask.size)
        inputs = list(view.call.inputs)
        inputs[3] = np.broadcast_to(mask, full).reshape(1, -1, *mask.shape[-2:])
        return view._replace(call=replace(view.call, inputs=tuple(inputs)))


@onnx_operator(inputs=2, equation="string")
@dataclass(frozen=True, eq=False)
class Einsum(Operator):
    """One activation, two, or one and a constant; the letter of the batch stands first in each and in the output."""

    behaviour = "1 for a permutation, spectral norm of the matrix for a constant; unbounded for two activations"
    activations = (1, 2)
    takes_list = True
    equation: str
    constant: np.ndarray | None = None
    constant_first: bool = False

    @classmethod
    def read(cls, call: Call) -> Operator:
        equation = _in_full(call)
        for i, value in enumerate(call.inputs):
            if isinstance(value, np.ndarray):
                return cls(equation, call.weight(i), i == 0)
        return cls(equation)

    def check(self, *inputs: Shape) -> None:
        left, arrow, output = self.equation.partition("->")
        parts = (*left.split(","), output)
        letters = "".join(parts)
        known = self.constant is not None
        written = bool(arrow) and letters.isascii() and letters.isalpha() and len(parts) == len(inputs) + known + 1 <= 3
        hold(
            written and self.constant_first <= known,
            "the equation must name every axis of one or two operands, and the output's, by letters",
            "Write it out in full",
        )
        unique = all(len(set(part)) == len(part) for part in parts)
        hold(unique, "the equation takes a diagonal", "Write it without repeated letters")
        terms, _ = self.terms()
        kept = {term[:1] for term in terms} == {output[:1]} and output[:1] not in self.constant_letters()
        hold(kept, "the batch is not the first letter of every activation and of the output", "Keep it there")
        often = all(sum(letter in part for part in parts) >= 2 for letter in letters)
        hold(often, "an axis is summed over one operand alone, or no operand has it", "Use ReduceSum, or Expand")
        axes = [len(term) == len(x) + 1 for term, x in zip(terms, inputs, strict=True)]
        rank = 0 if self.constant is None else self.constant.ndim
        hold(all(axes) and len(self.constant_letters()) == rank, "the letters do not fit the axes")

    def terms(self) -> tuple[list[str], str]:
        """The letters of the activations, and of the output."""
        left, _, output = self.equation.partition("->")
        terms = left.split(",")
        if self.constant is not None:
            terms.pop(0 if self.constant_first else 1)
        return terms, output

    def constant_letters(self) -> str:
        """The letters of the constant, if there is one."""
        terms = self.equation.partition("->")[0].split(",")
        return "" if self.constant is None else terms[0 if self.constant_first else 1]

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        operands = list(inputs)
        if "constant" in arrays:
            operands.insert(0 if self.constant_first else 1, arrays["constant"])
        return torch.einsum(self.equation, *operands)

    def sizes(self, *inputs: Shape) -> dict[str, int]:
        """The size of every axis but the batch."""
        terms, _ = self.terms()
        named = [*zip(terms, ((0, *shape) for shape in inputs), strict=True)]
        if self.constant is not None:
            named.append((self.constant_letters(), self.constant.shape))
        sizes: dict[str, int] = {}
        for term, shape in named:
            for letter, size in zip(term, shape, strict=True):
                if sizes.setdefault(letter, size) != size:
                    raise Refusal(f"the axis {letter} has two sizes", "Export the model again")
        return sizes

    def shape(self, *inputs: Shape) -> Shape:
        sizes = self.sizes(*inputs)
        return tuple(sizes[letter] for letter in self.terms()[1][1:])

    def lipschitz(self, *inputs: Shape) -> Rule:
        if len(inputs) == 2:
            return PRODUCT
        if self.constant is None:
            return Slope(1.0)
        # Per index that input, constant and output share a matrix
        (term,), output = self.terms()
        letters = self.constant_letters()
        made = [i for i, letter in enumerate(letters) if letter not in term]
        read = [i for i, letter in enumerate(letters) if letter not in output]
        shared = [i for i in range(len(letters)) if i not in made + read]
        sizes = [math.prod(self.constant.shape[i] for i in axes) for axes in (shared, made, read)]
        weight = self.constant.transpose(shared + made + read).reshape(sizes)
        if sizes[1:] == [1, 1]:
            return slope(float(np.abs(weight).max()))
        on_last = term[:-1] == output[:-1] and len(made) == len(read) == 1
        if on_last and not shared and letters[read[0]] == term[-1] and letters[made[0]] == output[-1]:
            return Dense(weight[0])
        return Matrices(weight)

    def multiply_adds(self, *inputs: Shape) -> int:
        if len(inputs) == 1 and self.constant is None:
            return 0
        sizes = self.sizes(*inputs)
        batch = self.terms()[1][0]
        return math.prod(size for letter, size in sizes.items() if letter != batch)

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return shifted(call, equation=_with_another_letter(call))


def _in_full(call: Call) -> str:
    """The equation with a letter for every axis that an ellipsis stands for, and with its output."""
    left, arrow, output = call.get("equation", "").replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(call.inputs) or any(value is None for value in call.inputs):
        return f"{left}{arrow}{output}"
    if not arrow:
        output = "..." * ("..." in left) + "".join(sorted(x for x in set(left) - set(".,") if left.count(x) == 1))
    free, counts = [letter for letter in ascii_letters if letter not in left + output], {0}
    for i, (term, value) in enumerate(zip(terms, call.inputs, strict=True)):
        if "..." in term:
            rank = value.rank if isinstance(value, Activation) else np.ndim(value)  # type: ignore[arg-type]
            count = rank - len(term) + len("...")
            hold(0 <= count <= len(free), "the letters do not fit the axes")
            terms[i] = term.replace("...", _last(free, count), 1)
            counts.add(count)
    hold(len(counts) <= 2, "its ellipses stand for different numbers of axes", "Write it out in full")
    return f"{','.join(terms)}->{output.replace('...', _last(free, max(counts)), 1)}"


def _last(free: Sequence[str], count: int) -> str:
    """Letters for so many axes, the same for those that lie as far from the last."""
    return "".join(free[:count])[::-1]


def _with_another_letter(call: Call) -> str:
    """An equation of Einsum with a letter for our batch in front of its activations and its output."""
    left, arrow, output = _in_full(call).partition("->")
    letter = next((letter for letter in ascii_letters if letter not in left + output), "")
    terms = left.split(",")
    if not arrow or not letter or len(terms) != len(call.inputs):
        raise Refusal("the equation must name every axis and the output's, by letters", "Write it out in full")
    fronted = (
        letter + term if isinstance(value, Activation) else term for term, value in zip(terms, call.inputs, strict=True)
    )
    return f"{','.join(fronted)}->{letter}{output}"
