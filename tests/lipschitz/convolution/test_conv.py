"""Convolution norms against the SVD of the matrix that PyTorch's own layer has."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch.nn.grad import conv2d_input

from radii.lipschitz import LayerTooLarge, NonFiniteWeights, conv_norm
from radii.lipschitz.convolution import conv
from tests.lipschitz.convolution.layers import explicit_matrix, random_layer

TRUST = 1e-13  # of a float64 SVD, relative


@pytest.fixture
def no_explicit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer goes over its torus, however small."""
    monkeypatch.setattr(conv, "EXPLICIT_ENTRIES", 0)


def layers(seed: int, count: int) -> Iterator[tuple[np.ndarray, tuple[int, ...], dict[str, Any], float]]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        weight, size, settings = random_layer(rng)
        yield weight, size, settings, float(np.linalg.norm(explicit_matrix(weight, size, settings), 2))


def test_explicit_layers_are_bounded_tightly() -> None:
    for weight, size, settings, true in layers(seed=1, count=250):
        bound = conv_norm(weight, size, **settings)
        assert bound.method == ("cholesky" if true else "zero")
        assert true * (1 - TRUST) <= bound.upper <= true * (1 + 1e-6), (size, settings)
        assert bound.lower <= true * (1 + TRUST)


@pytest.mark.usefixtures("no_explicit")
def test_torus_bounds_are_never_below_the_truth() -> None:
    witnessed = 0
    for weight, size, settings, true in layers(seed=2, count=400):
        bound = conv_norm(weight, size, **settings)
        assert bound.method == "torus"
        assert bound.upper >= true * (1 - TRUST), (weight.shape, size, settings)
        assert bound.lower <= true * (1 + TRUST), (weight.shape, size, settings)
        witnessed += bound.lower > 0.5 * true
    assert witnessed > 40


@pytest.mark.usefixtures("no_explicit")
def test_torus_is_exact_for_circular_layers() -> None:
    rng = np.random.default_rng(3)
    for _ in range(60):
        stride, kernel, dilation = (int(v) for v in rng.integers(1, [4, 9, 3]))
        size = stride * int(rng.integers(1, 9))
        total = dilation * (kernel - 1)  # with the padding that keeps as many outputs as strides fit
        low, high = total // 2, total - total // 2
        if max(low, high) > size:
            continue
        weight = rng.standard_normal((3, 2, kernel))
        settings: dict[str, Any] = {
            "stride": (stride,),
            "padding": ((low, high),),
            "dilation": (dilation,),
            "groups": 1,
            "padding_mode": "circular",
            "transposed": False,
            "output_padding": (0,),
        }
        true = np.linalg.norm(explicit_matrix(weight, (size,), settings), 2)
        bound = conv_norm(weight, size, **settings)
        assert true * (1 - TRUST) <= bound.upper <= true * (1 + 1e-6)
        assert true * (1 - 1e-6) <= bound.lower <= true * (1 + TRUST)


@pytest.mark.usefixtures("no_explicit")
def test_zero_padding_is_nearly_tight_on_large_images() -> None:
    weight = np.random.default_rng(4).standard_normal((8, 6, 3, 3))
    bound = conv_norm(weight, (40, 50), padding=1)
    assert bound.upper < 1.01 * bound.lower


@pytest.mark.usefixtures("no_explicit")
@pytest.mark.parametrize("exponent", [-300, -160, 0, 160, 300])
def test_any_scale(exponent: int) -> None:
    weight = np.random.default_rng(5).standard_normal((3, 2, 3, 3))
    unit, scaled = (conv_norm(w, (9, 9), padding=1) for w in (weight, weight * 10.0**exponent))
    assert scaled.upper == pytest.approx(unit.upper * 10.0**exponent, rel=1e-12)
    assert scaled.lower == pytest.approx(unit.lower * 10.0**exponent, rel=1e-9)


def largest_singular_value(weight: np.ndarray, size: int, stride: int) -> float:
    """By Lanczos on PyTorch's own layer with zero padding that keeps the size, in float64: an independent truth."""
    kernel, shape = torch.from_numpy(weight), (1, weight.shape[1], size, size)
    settings = {"stride": stride, "padding": weight.shape[2] // 2}

    def gram(vector: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(vector).reshape(shape)
        answer = torch.nn.functional.conv2d(x, kernel, **settings)
        return conv2d_input(shape, kernel, answer, **settings).reshape(-1).numpy()  # type: ignore[no-untyped-call]

    order = weight.shape[1] * size * size
    operator = LinearOperator((order, order), matvec=gram, dtype=float)
    start = np.random.default_rng(0).standard_normal(order)
    return eigsh(operator, k=1, v0=start, tol=1e-6, return_eigenvectors=False)[0] ** 0.5


@pytest.mark.usefixtures("no_explicit")
@pytest.mark.parametrize(
    ("size", "stride", "loose"), [(8, 1, 0.05), (16, 1, 0.01), (32, 1, 0.003), (16, 2, 0.03), (31, 2, 0.03)]
)
def test_zero_padding_is_tight(size: int, stride: int, loose: float) -> None:
    for seed in range(2):
        weight = np.random.default_rng(seed).standard_normal((16, 16, 3, 3))
        true = largest_singular_value(weight, size, stride)
        bound = conv_norm(weight, size, stride=stride, padding=1)
        assert bound.method == "torus"
        assert true * (1 - 1e-6) <= bound.upper <= true * (1 + loose)
        assert bound.lower <= true * (1 + 1e-6)


@pytest.mark.usefixtures("no_explicit")
def test_twisted_torus_is_exact_for_a_second_difference() -> None:
    bound = conv_norm(np.array([[[-1.0, 2.0, -1.0]]]), 7, padding=1)
    assert bound.upper == pytest.approx(2 + 2 * np.cos(np.pi / 8), rel=1e-6)
    assert bound.torus == (8,)


@pytest.mark.usefixtures("no_explicit")
@pytest.mark.parametrize(("kernel", "size", "stride", "pads"), [(1, 4, 1, 3), (1, 3, 2, 5), (2, 3, 3, 7), (3, 2, 2, 9)])
def test_outputs_that_read_padding_alone_need_no_room(kernel: int, size: int, stride: int, pads: int) -> None:
    weight = np.random.default_rng(9).standard_normal((3, 2, kernel))
    settings = random_layer(np.random.default_rng(0))[2] | {
        "stride": (stride,),
        "padding": ((pads, pads + 1),),
        "dilation": (1,),
        "groups": 1,
        "padding_mode": "zeros",
        "transposed": False,
    }
    true = np.linalg.norm(explicit_matrix(weight, (size,), settings), 2)
    bound = conv_norm(weight, size, stride=stride, padding=((pads, pads + 1),))
    assert true * (1 - TRUST) <= bound.upper
    assert bound.torus is not None
    assert bound.torus[0] < stride * ((size + 2 * pads + 1 - kernel) // stride + 1)  # fewer places than outputs


def test_any_size_bounds_every_size() -> None:
    checked = 0
    for weight, size, settings, true in layers(seed=8, count=80):
        bound = conv_norm(weight, None, **settings)
        assert bound.torus is None
        assert bound.upper >= true * (1 - TRUST), (weight.shape, size, settings)
        if settings["padding_mode"] == "zeros" and true:
            assert bound.lower > 0.99 * bound.upper
            checked += 1
    assert checked > 30


@pytest.mark.parametrize("force_torus", [False, True])
def test_gram_iteration_bounds_the_truth(force_torus: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if force_torus:
        monkeypatch.setattr(conv, "EXPLICIT_ENTRIES", 0)
    for weight, size, settings, true in layers(seed=10, count=60):
        bound = conv_norm(weight, size, **settings, method="gram")
        assert bound.upper >= true * (1 - TRUST), (weight.shape, size, settings)
        assert bound.method == "gram" or not true
        if true and not force_torus:
            assert bound.upper <= true * (1 + 2e-6)
        if true and force_torus:
            tight = conv_norm(weight, size, **settings)
            assert bound.upper >= tight.upper * (1 - 1e-5)
            assert bound.lower <= true * (1 + TRUST)


def test_zero_layer_is_exactly_zero() -> None:
    bound = conv_norm(np.zeros((4, 3, 3, 3)), (32, 32), padding=1)
    assert (bound.upper, bound.lower, bound.method) == (0.0, 0.0, "zero")


@pytest.mark.usefixtures("no_explicit")
def test_kernels_that_vanish_at_some_frequencies() -> None:
    difference = np.array([[[1.0, -1.0]]])
    bound = conv_norm(difference, 64, padding=0)
    assert 2 * np.cos(np.pi / 128) <= bound.upper <= 2 * (1 + 1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_weights_are_refused(value: float) -> None:
    weight = np.ones((2, 2, 3, 3))
    weight[1, 0, 2, 2] = value
    with pytest.raises(NonFiniteWeights, match="1 of 36 weights"):
        conv_norm(weight, (8, 8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_size": (8,)}, "input_size needs 2 numbers"),
        ({"stride": 0}, "stride must be at least 1"),
        ({"padding": ((1, -1), (0, 0))}, "must not be negative"),
        ({"padding": (1, 1, 1)}, "per axis"),
        ({"padding_mode": "mirror"}, "padding_mode must be one of"),
        ({"padding_mode": "reflect", "padding": 8}, "too wide"),
        ({"padding_mode": "circular", "padding": 9}, "too wide"),
        ({"groups": 3}, "do not divide"),
        ({"input_size": (2, 8)}, "no output"),
        ({"output_padding": 1}, "transposed"),
        ({"transposed": True, "padding_mode": "circular"}, "zeros only"),
        ({"rtol": 0.0}, "rtol"),
        ({"method": "torus"}, "method must be one of"),
    ],
)
def test_layers_that_do_not_exist_are_refused(changes: dict[str, Any], message: str) -> None:
    arguments = {"input_size": (8, 8), **changes}
    with pytest.raises(ValueError, match=message):
        conv_norm(np.ones((4, 2, 3, 3)), **arguments)


def test_a_kernel_spread_over_a_million_pixels_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(LayerTooLarge, match="too much memory"):
        conv_norm(np.ones((64, 64, 3)), 2**22, stride=2, dilation=2**20 + 1)


def test_global_settings_do_not_matter(no_explicit: None) -> None:
    weight = np.random.default_rng(6).standard_normal((4, 3, 3, 3)).astype(np.float32)
    plain = conv_norm(weight, (8, 8), padding=1)
    precision, dtype = torch.get_float32_matmul_precision(), torch.get_default_dtype()
    try:
        torch.set_float32_matmul_precision("medium")
        torch.set_default_dtype(torch.float16)
        torch.set_flush_denormal(True)
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.device("meta"):
            changed = conv_norm(torch.from_numpy(weight), (8, 8), padding=1)
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.set_default_dtype(dtype)
        torch.set_flush_denormal(False)
    assert changed == plain
