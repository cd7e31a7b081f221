"""The kernels as machine code for GPUs, without one."""

import re

import pytest
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from radii.smoothing.noise import kernels
from radii.smoothing.noise.fused import CELL_BITS

COMMON = {"out": "*fp32", "parts": "*i64", "first": "i64"} | dict.fromkeys(("size", "blocks", "least", "most"), "i32")
GRID = {"inputs": "*i16", "guide": "*i32", "ends": "*i64", "values": "*fp32"}
FLOATING = {"inputs": "*fp32", "stretch": "fp32"}
KERNELS = {
    "grid": (kernels.add_on_grid, COMMON | GRID, {"CELLS": CELL_BITS}),
    **{law: (kernels.add, COMMON | FLOATING, {"LAW": law}) for law in ("gaussian", "laplace", "uniform")},
}


@pytest.fixture(params=KERNELS)
def kernel(request):
    return request.param


@pytest.fixture(params=[80, 90, 100])
def code(request, kernel):
    function, types, constants = KERNELS[kernel]
    constants = constants | {"BLOCK": kernels.BLOCK}
    signature = {name: types.get(name, "constexpr") for name in function.arg_names}
    source = ASTSource(function, signature, constexprs=constants)
    return triton.compile(source, GPUTarget("cuda", request.param, 32), {"enable_fp_fusion": False})


def test_nothing_is_missing_and_nothing_is_approximate(code, kernel):
    """No function is called that a GPU lacks; no logarithm, cosine or root is one of the quick ones, whose error a tail
    would be made of; on the grid nothing is floating at all."""
    ptx = code.asm["ptx"]
    operations = re.findall(r"^\s+(?:@!?%p\d+ )?([a-z][a-z0-9_]*(?:\.[a-z0-9_:]+)*)[\s;]", ptx, re.MULTILINE)
    assert operations.count("ret") == 1 and len(operations) > 200
    assert not [name for name in operations if name.startswith("call")]
    assert not [name for name in operations if "approx" in name]
    floating = [name for name in operations if re.search(r"\.(b?f16|f32|f64)", name)]
    assert bool(floating) is (kernel != "grid")
    assert ".extern" not in ptx.replace(".extern .shared", "")


def test_an_assembler_takes_it(code):
    assert code.asm["cubin"][:4] == b"\x7fELF"
    assert code.metadata.num_warps == 4
    assert code.metadata.shared <= 64
