"""Directed rounding against exact rational arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from radii.lipschitz.rounding import (
    EMULATION,
    EmulatedFloat64,
    check_float64,
    gamma,
    hypot_up,
    ldexp_down,
    ldexp_up,
    product_up,
    scaled,
    sum_up,
)

positive = st.floats(1e-150, 1e150)


@given(st.integers(0, 2**40))
def test_gamma_is_an_upper_bound(k: int) -> None:
    u = Fraction(1, 2**53)
    assert Fraction(gamma(k)) >= k * u / (1 - k * u)


def test_sums_too_long_to_bound_are_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        gamma(2**52)


@given(st.lists(positive, min_size=1, max_size=8))
def test_sums_and_roots(values: list[float]) -> None:
    exact = sum(map(Fraction, values))
    assert exact <= Fraction(sum_up(values)) <= exact * (1 + Fraction(1, 2**50))
    squares = sum(Fraction(v) ** 2 for v in values)
    assert squares <= Fraction(hypot_up(values)) ** 2 <= squares * (1 + Fraction(1, 2**48))


@given(st.lists(st.floats(1e-30, 1e30), max_size=9))
def test_products(values: list[float]) -> None:
    exact = math.prod(map(Fraction, values))
    assert exact <= Fraction(product_up(values)) <= exact * (1 + Fraction(1, 2**48))


def test_products_with_zero_and_one_are_exact() -> None:
    assert float(product_up([0.1, 0.0, math.inf])) == 0
    assert product_up([1.0, 0.1, 1.0]) == 0.1


@given(st.floats(0.25, 4), st.integers(-1200, 1200))
def test_powers_of_two(value: float, exponent: int) -> None:
    exact = Fraction(value) * Fraction(2) ** exponent
    upper, lower = ldexp_up(value, exponent), ldexp_down(value, exponent)
    assert upper == math.inf or Fraction(upper) >= exact
    assert 0 <= Fraction(lower) <= exact
    if -1000 < exponent < 1000:
        assert float(upper) == float(lower)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=6))
def test_scaled_keeps_the_numbers(values: list[float]) -> None:
    array, exponent = scaled(np.array(values))
    largest = np.abs(array).max()
    assert largest == 0 or 0.5 <= largest < 1
    for value, small in zip(values, array, strict=True):
        assert abs(Fraction(float(small)) * Fraction(2) ** exponent - Fraction(value)) <= Fraction(2) ** (
            exponent - 1000
        )


@pytest.mark.parametrize(
    ("value", "device", "sound"),
    [(None, "cuda", True), ("0", "cuda:1", True), ("1", "cpu", True), ("1", "cuda", False), ("2", "cuda:1", False)],
)
def test_float64_that_a_gpu_may_emulate_is_refused(
    value: str | None, device: str, sound: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(EMULATION, raising=False)
    if value is not None:
        monkeypatch.setenv(EMULATION, value)
    if sound:
        check_float64(torch.device(device))
    else:
        with pytest.raises(EmulatedFloat64, match=f"{EMULATION}={value} .* unset it"):
            check_float64(torch.device(device))
