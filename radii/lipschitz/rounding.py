"""Directed rounding: a number that enters a certificate is a bound whose direction is known, rounding included.

Scalars are rounded by one step of ``nextafter`` after each operation, which contains the error of a correctly
rounded one. Arrays carry an a-priori bound instead (Higham, Accuracy and Stability of Numerical Algorithms, ch. 3):
a sum of k products in float64, in any order, errs by at most ``gamma(k)`` times the same sum of absolute values.
Formulas: docs/numerics.md 1.1.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NewType

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch
    from typing_extensions import TypeIs

Upper = NewType("Upper", float)
"""A number that the quantity it bounds does not exceed."""
Lower = NewType("Lower", float)
"""A number that does not exceed the quantity it bounds."""

UNIT = 2.0**-53
"""Unit roundoff of float64."""


class NonFiniteWeights(ValueError):
    """A weight is NaN or infinite, so no bound exists. Find the layer whose training diverged and export again."""


class LayerTooLarge(ValueError):
    """A layer's bound would take more memory than is reasonable: use smoothing, or a smaller layer."""


class EmulatedFloat64(RuntimeError):
    """cuBLAS may put float64 products together from narrower ones, without a proved error: see the remedy it names."""


EMULATION = "CUBLAS_EMULATE_DOUBLE_PRECISION"


def check_float64(device: torch.device) -> None:
    """Raises `EmulatedFloat64` where a product of float64 tensors on this device may not be taken in float64.

    cuBLAS from CUDA 13.0 update 2 on emulates where the environment allows it, which by default it does not
    (https://docs.nvidia.com/cuda/cublas/#floating-point-emulation). PyTorch never asks for it.
    """
    value = os.environ.get(EMULATION, "")
    if device.type == "cuda" and value not in ("", "0"):
        raise EmulatedFloat64(
            f"{EMULATION}={value} lets cuBLAS emulate float64, which no bound here allows for: unset it and start the "
            "process again, or move the tensor to the CPU"
        )


def torch_is_loaded() -> bool:
    """Whether there can be a tensor, or a setting of torch's, yet: loading it takes longer than most bounds."""
    return "torch._C" in sys.modules


def is_tensor(value: object) -> TypeIs[torch.Tensor]:
    """Whether it is torch's."""
    return torch_is_loaded() and isinstance(value, sys.modules["torch"].Tensor)


@contextmanager
def certified_arithmetic() -> Iterator[None]:
    """Whatever the caller's settings of torch and NumPy: no gradients, the CPU by default, no autocast, no warnings.

    The default device matters: a float64 product of a CPU and a meta tensor is garbage, without an error. What
    overflows is found out by what is not finite.
    """
    with np.errstate(all="ignore"):
        if not torch_is_loaded():
            yield
            return
        torch: Any = sys.modules["torch"]
        with torch.no_grad(), torch.device("cpu"), torch.autocast("cpu", enabled=False):
            yield


def gamma(k: int) -> float:
    """``k u / (1 - k u)``, rounded up: the relative error of k successive roundings in float64."""
    if k * UNIT >= 0.5:
        raise ValueError(f"a sum of {k} terms is too long for a certified float64 bound")
    return up(k * UNIT / (1 - k * UNIT) * (1 + 4 * UNIT))


def up(value: float) -> Upper:
    """The next float64 above a correctly rounded result."""
    return Upper(math.nextafter(value, math.inf))


def down(value: float) -> Lower:
    """The next float64 below a correctly rounded result."""
    return Lower(math.nextafter(value, -math.inf))


def sum_up(values: Iterable[float]) -> Upper:
    """The sum of upper bounds, rounded up. A single one stays exact."""
    values = [value for value in values if value != 0]
    return Upper(values[0]) if len(values) == 1 else up(math.fsum(values)) if values else Upper(0.0)


def product_up(values: Iterable[float]) -> Upper:
    """The product of non-negative upper bounds, rounded up. Exactly 0 and exactly 1 stay exact."""
    result = 1.0
    for value in values:
        if result == 0 or value == 0:
            return Upper(0.0)
        if value != 1:
            result = value if result == 1 else up(result * value)
    return Upper(result)


def hypot_up(values: Iterable[float]) -> Upper:
    """The square root of the sum of squares of upper bounds, rounded up (``math.hypot`` errs by at most 1 ulp)."""
    values = [value for value in values if value != 0]
    return Upper(values[0]) if len(values) == 1 else up(up(math.hypot(*values))) if values else Upper(0.0)


def ldexp_up(value: float, exponent: int) -> Upper:
    """``value * 2**exponent`` rounded up; infinite where float64 ends."""
    try:
        scaled = math.ldexp(value, exponent)
    except OverflowError:
        return Upper(math.inf)
    return Upper(scaled if math.ldexp(scaled, -exponent) >= value else up(scaled))


def ldexp_down(value: float, exponent: int) -> Lower:
    """``value * 2**exponent`` rounded down, for a non-negative value."""
    try:
        scaled = math.ldexp(value, exponent)
    except OverflowError:
        return Lower(math.nextafter(math.inf, 0))
    return Lower(scaled if math.ldexp(scaled, -exponent) <= value else max(0.0, down(scaled)))


def as_float64(weight: npt.ArrayLike | torch.Tensor, *, checked: bool = True) -> npt.NDArray[np.float64]:
    """The same numbers as a float64 array, perhaps in the same memory.

    Raises:
        NonFiniteWeights: a number is NaN or infinite; not for floats of 64 bits or fewer unless ``checked``.
        ValueError: the numbers are not real, or float64 cannot hold them.
    """
    if is_tensor(weight):
        import torch

        tensor = weight.detach().to(device="cpu")
        # numpy has no bfloat16 nor float8
        given = (tensor.to(torch.float64) if tensor.is_floating_point() else tensor).numpy()
    else:
        given = np.asarray(weight)
    if given.dtype.kind not in "fiu":
        raise ValueError(f"weights must be real numbers, not {given.dtype}")
    array = given.astype(np.float64, copy=False)
    lossy = given.dtype.kind != "f" or given.dtype.itemsize > array.itemsize
    if checked or lossy:
        check_finite(array)
    if lossy and ((np.abs(given) > 2**53).any() if given.dtype.kind != "f" else (array != given).any()):
        raise ValueError(f"weights of type {given.dtype} do not fit float64 exactly; round them first")
    return array


def check_finite(array: npt.NDArray[np.float64]) -> None:
    """Raises `NonFiniteWeights` where an entry is NaN or infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = array.sum()  # in one pass, without a copy; it may overflow
    if not np.isfinite(total) and (wrong := int((~np.isfinite(array)).sum())):
        raise NonFiniteWeights(f"{wrong} of {array.size} weights are NaN or infinite")


def scaled(array: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], int]:
    """``(a, e)`` with ``array = a 2^e`` and ``0.5 <= max |a| < 1``; ``e`` is 0 for an array of zeros.

    Exact but for entries below 2^-1000 of the largest, whose loss every bound here covers with room: the norm of
    ``a`` is at least 1/2 and its bound is rounded up by more than 2^-60 relative.
    """
    largest = max(float(array.max(initial=0.0)), -float(array.min(initial=0.0)))
    exponent = math.frexp(largest)[1]
    if abs(exponent) < 1000:
        return array * 2.0**-exponent, exponent
    return np.ldexp(array, -exponent), exponent
