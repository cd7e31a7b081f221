"""Matrix products, Einsum and attention."""

import numpy as np
from hypothesis import strategies as st

from tests.graph.case import Case
from tests.graph.space.draw import Draw, space


@space("Gemm", tight=1 + 1e-5)
def gemm(draw: Draw) -> Case:
    inner, outer = draw.integer(1, 6), draw.integer(1, 6)
    transposed = draw.one(0, 1, None)
    weight = draw.floats(outer, inner) if transposed else draw.floats(inner, outer)
    bias = [draw.floats(*draw.one((), (1,), (outer,), (1, 1), (1, outer)))]
    if draw.opset >= 11:
        bias = draw.one([], bias)
    alpha, beta = draw.maybe(draw.number(-2, 2)), draw.maybe(draw.number(-2, 2))
    return draw.case("x", weight, *bias, shape=(inner,), alpha=alpha, beta=beta, transB=transposed)


@space("MatMul", tight=3.0)
def matrix_products(draw: Draw) -> Case:
    heads, rows, inner, outer = draw.integers(4, 1, 4)
    kind = draw.one("right", "left", "stack on the right", "stack on the left", "activations", "vector", "left vector")
    if kind == "vector":
        return draw.case("x", draw.floats(inner), shape=draw.one((inner,), (rows, inner), (heads, rows, inner)))
    if kind == "left vector":
        return draw.case(draw.floats(inner), "x", shape=draw.one((inner, rows), (heads, inner, rows)))
    shape = draw.one((inner,), (rows, inner), (heads, rows, inner)) if kind == "right" else (heads, rows, inner)
    batch = draw.one((), (1,), (1, 1))[: len(shape) - 1]
    if kind == "right":
        return draw.case("x", draw.floats(*batch, inner, outer), shape=shape)
    if kind == "left":
        shape = draw.one((inner, rows), (heads, inner, rows))
        return draw.case(draw.floats(*batch[: len(shape) - 1], outer, inner), "x", shape=shape)
    if kind == "activations":
        return draw.case("x", draw.one("r", "p"), shape=draw.one((inner, inner), (heads, inner, inner)))
    front = draw.one((heads,), (1, heads), *(((3,), (1, 3)) if heads == 1 else ()))
    if kind == "stack on the right":
        return draw.case("x", draw.floats(*front, inner, outer), shape=shape)
    return draw.case(draw.floats(*front, outer, rows), "x", shape=shape)


@space("Einsum", tight=3.0, refused="diagonal|summed over one operand|batch is not the first|name every axis")
def einsum(draw: Draw) -> Case:
    """Equations of the batch b, kept axes, summed axes and new ones, in any order."""
    sizes = dict(zip("cdhko", draw.integers(5, 1, 3), strict=True))
    kept, summed, made = draw.one("", "c", "ch"), draw.one("", "d", "dk"), draw.one("", "o")

    def order(letters: str) -> str:
        return "".join(draw.draw(st.permutations(letters)))

    read = order(kept + summed) or "c"
    shape = [sizes[letter] for letter in read]
    kind = draw.one("permutation", "constant", "activations")
    if kind == "permutation":
        return draw.case("x", shape=shape, equation=f"b{read}->b{order(read)}")
    spaced = draw.one("", " ")
    if kind == "activations":
        equation = f"b{read},b{read}{spaced}->{spaced}b{order(''.join(c for c in read if c not in summed))}"
        return draw.case("x", "r", shape=shape, equation=equation)
    shared = "".join(letter for letter in kept if letter in read and draw.one(True, False))
    letters = order(shared + "".join(letter for letter in summed if letter in read) + made)
    constant = draw.floats(*(sizes[letter] for letter in letters))
    output = f"b{order(''.join(letter for letter in read if letter not in summed) + made)}"
    term, alike = f"b{read}", 0
    while term[alike : alike + 1] == output[alike : alike + 1] != "" and term[alike] not in letters:
        alike += 1
    if alike and draw.one(True, False):
        term, output = (f"...{part[alike:]}" for part in (term, output))
    terms = [(term, "x"), (letters, constant)][:: draw.one(1, -1)]
    equation = f"{terms[0][0]},{spaced}{terms[1][0]}{spaced}->{output}"
    return draw.case(terms[0][1], terms[1][1], shape=shape, equation=equation)


# the specification broadcasts masks, onnxruntime along some axes only
@space("Attention", refused="softcap|do not fit|nothing to look at", accepted="attn_mask|scale_ > 0|num_heads")
def attention(draw: Draw) -> Case:
    heads, length, size = draw.integers(3, 1, 3)
    scale, causal = draw.maybe(draw.number(0.125, 1)), draw.one(0, 1, None)
    entries = draw.one((length, length), (1, length), (1, length, length), (1, heads, length, length))
    mask = draw.one([], [draw.floats(*entries)], [np.tri(length, dtype=bool)])
    if mask and mask[0].shape[-2] < length:  # then the reference cuts the triangle out of the mask as it stands
        causal = None
    settings = {"scale": scale, "is_causal": causal}
    if draw.one(True, False):
        return draw.case("x", "r", "p", *mask, shape=(heads, length, size), **settings)
    return draw.case(
        *("x", "r", "p", *mask), shape=(length, heads * size), q_num_heads=heads, kv_num_heads=heads, **settings
    )
