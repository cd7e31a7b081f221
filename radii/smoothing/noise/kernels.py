"""Noise drawn and added to its input in one pass over the batch, in Triton: the bits of `philox`, and what becomes of
them.

A program makes the values of ``BLOCK`` calls of Philox in one row. ``parts`` says, for each part of a stream, its first
row, its input, and two words of its seed (int64, four a part); the parts of this launch's rows are among ``least`` to
``most``. No argument is specialised on its value: there is one binary of each kernel, which is the one that was tested.
Formulas: docs/numerics.md 6.4.
"""
# What Triton compiles is no Python: it has types of its own. And there is no Triton without CUDA.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False

import math

import triton
import triton.language as tl

BLOCK = 256
UNSPECIALISED = ["out", "inputs", "parts", "first", "size", "blocks", "least", "most"]
ROUNDED = tl.constexpr(2.0**-63)
TURN = tl.constexpr(math.pi * 2.0**-63)
LEAST = tl.constexpr(2.0**-64)


@triton.jit
def _place(parts, first, blocks, least, most, BLOCK: tl.constexpr):
    """The place of this program: its row, its part's record, and which calls of Philox it makes."""
    program = tl.program_id(0)
    row = program // blocks
    while least < most:  # the last part that begins no later than the row
        middle = (least + most + 1) // 2
        begun = tl.load(parts + middle * 4) <= first + row
        least = tl.where(begun, middle, least)
        most = tl.where(begun, most, middle - 1)
    return row.to(tl.int64), parts + least * 4, program % blocks * BLOCK + tl.arange(0, BLOCK)


@triton.jit
def _bits(part, first, row, calls):
    """Two words of 64 bits for each call."""
    sample = (first + row - tl.load(part)).to(tl.uint32)
    more = tl.load(part + 3)
    a, b, c, d = tl.philox(tl.load(part + 2), calls, sample, more.to(tl.uint32), (more >> 32).to(tl.uint32))
    return a.to(tl.uint64) | b.to(tl.uint64) << 32, c.to(tl.uint64) | d.to(tl.uint64) << 32


@triton.jit
def _share(word, guide, ends, CELLS: tl.constexpr):
    """How many of the ascending ``ends`` are no larger than ``word``.

    ``guide`` says it for all words with the same upper bits: the least (16 bits) and how many more it may be (16 bits).
    """
    known = tl.load(guide + (word >> (64 - CELLS)).to(tl.int32))
    low = known & 0xFFFF
    high = low + ((known >> 16) & 0xFFFF)
    while tl.max(high - low) > 0:  # mostly once: few cells hold an end, fewer hold two
        unknown = low < high
        middle = (low + high) // 2
        end = tl.load(ends + middle, mask=unknown, other=0).to(tl.uint64, bitcast=True)
        beyond = unknown & (word >= end)
        low = tl.where(beyond, middle + 1, low)
        high = tl.where(beyond, high, middle)  # of what is known, itself
    return low


@triton.jit
def _step(out, steps, values, share, places, end):
    inside = places < end
    step = share + tl.load(steps + places, mask=inside, other=0).to(tl.int32)
    tl.store(out + places, tl.load(values + step, mask=inside, other=0.0), mask=inside)


@triton.jit(do_not_specialize=[*UNSPECIALISED, "guide", "ends", "values"])
def add_on_grid(
    out,
    inputs,
    parts,
    first: tl.int64,
    size: tl.int32,
    blocks: tl.int32,
    least: tl.int32,
    most: tl.int32,
    guide,
    ends,
    values,
    CELLS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Whole steps: ``inputs`` are int16, and what a sum of steps is as a value stands in ``values``. Integers only."""
    row, part, calls = _place(parts, first, blocks, least, most, BLOCK)
    one, two = _bits(part, first, row, calls)
    out += row * size
    inputs += tl.load(part + 1) * size
    half = (size + 1) // 2
    _step(out, inputs, values, _share(one, guide, ends, CELLS), calls, half)
    _step(out, inputs, values, _share(two, guide, ends, CELLS), calls + half, size)


@triton.jit
def unit(word):
    """A float32 number that is uniform in [-1, 1]."""
    return word.to(tl.int64, bitcast=True).to(tl.float32) * ROUNDED


@triton.jit
def logarithm(word):
    """The logarithm of a number that is uniform in (0, 1] and at least 2^-64."""
    return tl.log(tl.maximum(tl.abs(unit(word)), LEAST))


@triton.jit
def gaussian(one, two):
    """Box and Muller: the first word gives the distance from 0, the second the direction."""
    distance = tl.sqrt_rn(-2.0 * logarithm(one))
    angle = two.to(tl.int64, bitcast=True).to(tl.float32) * TURN
    return distance * tl.cos(angle), distance * tl.sin(angle)


@triton.jit
def laplace(word):
    size = -logarithm(word)
    return tl.where(word.to(tl.int64, bitcast=True) < 0, -size, size)


@triton.jit
def _add(out, inputs, stretch, value, places, end):
    inside = places < end
    tl.store(out + places, tl.load(inputs + places, mask=inside, other=0.0) + stretch * value, mask=inside)


@triton.jit(do_not_specialize=[*UNSPECIALISED, "stretch"])
def add(
    out,
    inputs,
    parts,
    first: tl.int64,
    size: tl.int32,
    blocks: tl.int32,
    least: tl.int32,
    most: tl.int32,
    stretch: tl.float32,
    LAW: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """In float32: ``stretch`` times values of the law."""
    row, part, calls = _place(parts, first, blocks, least, most, BLOCK)
    one, two = _bits(part, first, row, calls)
    out += row * size
    inputs += tl.load(part + 1) * size
    if LAW == "gaussian":
        here, there = gaussian(one, two)
    elif LAW == "laplace":
        here, there = laplace(one), laplace(two)
    else:
        here, there = unit(one), unit(two)
    half = (size + 1) // 2
    _add(out, inputs, stretch, here, calls, half)
    _add(out, inputs, stretch, there, calls + half, size)
