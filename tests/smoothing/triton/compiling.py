"""The kernels as machine code for GPUs, without one."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from radii.laws import LAWS
from radii.smoothing.noise import Part, kernels
from radii.smoothing.noise.floating import Floating
from radii.smoothing.noise.fused import CELL_BITS, FusedFloating, FusedGrid

CPU = torch.device("cpu")

COMMON = {"out": "*fp32", "parts": "*i64", "first": "i64"} | dict.fromkeys(("size", "blocks", "least", "most"), "i32")
GRID = {"inputs": "*i16", "guide": "*i32", "ends": "*i64", "values": "*fp32"}
FLOATING = {"inputs": "*fp32", "stretch": "fp32"}
KERNELS: dict[str, tuple[Any, dict[str, str], dict[str, Any]]] = {
    "grid": (kernels.add_on_grid, COMMON | GRID, {"CELLS": CELL_BITS}),
    **{law: (kernels.add, COMMON | FLOATING, {"LAW": law}) for law in LAWS if LAWS[law].fused},
}


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> str:
    return request.param


def code_of(kernel: str, processor: int) -> Any:
    function, types, constants = KERNELS[kernel]
    signature = {name: types.get(name, "constexpr") for name in function.arg_names}
    source = ASTSource(function, signature, constexprs=constants | {"BLOCK": kernels.BLOCK})
    return triton.compile(source, GPUTarget("cuda", processor, 32), {"enable_fp_fusion": False})


@pytest.fixture(params=[80, 90, 100])
def code(request: pytest.FixtureRequest, kernel: str) -> Any:
    return code_of(kernel, request.param)


def test_nothing_is_missing_and_nothing_is_approximate(code: Any, kernel: str) -> None:
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


def test_an_assembler_takes_it(code: Any) -> None:
    assert code.asm["cubin"][:4] == b"\x7fELF"
    assert code.metadata.num_warps == 4
    assert code.metadata.shared <= 64


class Device:
    """As much of a driver as compiling asks for: which GPU."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> Any:
        return GPUTarget("cuda", 90, 32)


class Compiled:
    """A kernel that is compiled when it is launched, and not launched."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.binaries: list[Any] = []

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        return lambda *arguments, **options: self.binaries.append(self.kernel.warmup(*arguments, grid=grid, **options))


@pytest.mark.parametrize("kind", KERNELS)
def test_there_is_one_binary_whatever_the_arguments(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is compiled as the sources launch it, and is the code looked at above: what a worker's self-test runs is what
    certifies then. Triton would take lengths of 1, or multiples of 16, for constants."""
    monkeypatch.setattr(triton.runtime.driver, "_active", Device())
    name = "add_on_grid" if kind == "grid" else "add"
    monkeypatch.setattr(kernels, name, launched := Compiled(getattr(kernels, name)))
    source = (
        FusedGrid(LAWS["gaussian"], 0.25, device=CPU)
        if kind == "grid"
        else FusedFloating(Floating(LAWS[kind], 0.25), CPU)
    )
    for size in (1, 7, 16, 3072):
        fill = source.streams([Part(bytes(32), torch.zeros(size), 2), Part(bytes(range(32)), torch.zeros(size), 2**40)])
        out = torch.empty(17 * size + 1)
        for start in (0, 1):  # somewhere on 16 bytes, and not
            fill(out[start : start + size * 16].view(16, size))
    assert len(launched.binaries) == 8
    assert len({binary.hash for binary in launched.binaries}) == 1
    assert launched.binaries[0].asm["ptx"] == code_of(kind, 90).asm["ptx"]
