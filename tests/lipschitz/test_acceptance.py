"""The shared cases: float64 SVDs of explicit matrices, and how tight a bound must be."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from radii.lipschitz import NonFiniteWeights, conv_norm, matrix_norm
from radii.lipschitz.dense.matrix import NormBound
from tests.acceptance import load

CASES = load("spectral_norms")["cases"]


def lcg(seed: int, shape: Sequence[int]) -> np.ndarray:
    x, values = seed, []
    for _ in range(int(np.prod(shape))):
        x = (1103515245 * x + 12345) % 2**31
        values.append(x / 2**30 - 1)
    return np.array(values).reshape(shape)


def weight(case: dict[str, Any]) -> np.ndarray:
    generator, shape = case["generator"], case.get("shape") or case["weight_shape"]
    if case["name"] == "dense_rank1":
        return lcg(5, (40, 1)) @ lcg(6, (1, 30))
    if case["name"] == "dense_tiny_1e-30":
        return 1e-30 * lcg(7, shape)
    if case["name"] == "dense_hadamard_128":
        hadamard = np.ones((1, 1))
        while len(hadamard) < 128:
            hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
        return hadamard
    if case["name"] == "dense_zero_20x30":
        return np.zeros(shape)
    if case["name"] == "dense_with_nan":
        array = lcg(9, shape)
        array[3, 4] = np.nan
        return array
    if case["name"] == "conv2d_alternating_n7":
        return np.outer([-1, 2, -1], [-1, 2, -1])[np.newaxis, np.newaxis].astype(float)
    seed = generator.removeprefix("lcg(seed=").removesuffix(")")
    return lcg(int(seed), shape)


def norm(case: dict[str, Any]) -> NormBound:
    if case["kind"] == "dense":
        return matrix_norm(weight(case))
    return conv_norm(
        weight(case),
        case["input_spatial"],
        **{key: case[key] for key in ("stride", "padding", "dilation", "groups", "padding_mode", "output_padding")},
        transposed=case["kind"].startswith("conv_transpose"),
    )


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_case(case: dict[str, Any]) -> None:
    if case["true_norm"] is None:
        with pytest.raises(NonFiniteWeights):
            norm(case)
        return
    bound, true = norm(case), case["true_norm"]
    assert bound.upper >= true * (1 - 1e-13)
    assert bound.lower <= true * (1 + 1e-13)
    assert bound.upper <= case.get("reference_upper_bound", true) * (1 + 1e-6)
    if true == 0:
        assert float(bound.upper) == 0
