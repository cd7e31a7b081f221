"""Norms to train with, against singular values of explicit matrices: alone, and of layers as they stand in a
network.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from radii.training import LayerNorms, spectral_norm, spectral_penalty


def explicit(layer: nn.Module, x: Tensor) -> float:
    """The largest singular value of a layer's Jacobian."""
    matrix = torch.func.jacrev(lambda flat: layer(flat.reshape(x[:1].shape)).flatten())(x[0].flatten())
    return float(torch.linalg.matrix_norm(matrix.detach(), 2))


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (1, 5), (300, 200)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_largest_singular_value_and_its_gradient(shape: tuple[int, int], dtype: torch.dtype) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype).requires_grad_()
    norm = spectral_norm(weight)
    (gradient,) = torch.autograd.grad(norm, weight)
    u, s, v = torch.linalg.svd(weight.detach().double(), full_matrices=False)
    close = 1e-5 if dtype == torch.float32 or min(shape) > 128 else 1e-12
    assert norm.item() == pytest.approx(s[0].item(), rel=close)
    torch.testing.assert_close(gradient.double(), torch.outer(u[:, 0], v[0]), rtol=0, atol=close**0.5)


def test_of_a_convolution() -> None:
    kernel = torch.randn(3, 5, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    blocks = torch.fft.fft2(kernel, s=(6, 7)).flatten(2).permute(2, 0, 1)
    true = torch.linalg.matrix_norm(blocks, 2).amax()
    norm = spectral_norm(kernel, torus=(6, 7))
    assert norm.item() == pytest.approx(true.item(), rel=1e-12)
    found, expected = (torch.autograd.grad(value, kernel)[0] for value in (norm, true))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="does not hold"):
        spectral_norm(kernel, torus=(2, 7))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_zeros_and_extreme_scales(dtype: torch.dtype) -> None:
    zeros = torch.zeros(200, 150, dtype=dtype, requires_grad=True)
    norm = spectral_norm(zeros)
    assert norm.item() == 0 and norm.dtype == dtype
    assert not torch.autograd.grad(norm, zeros)[0].isnan().any()
    for scale in (1e-30, 1e30):
        weight = torch.eye(200, dtype=dtype) * scale
        assert spectral_norm(weight).item() == pytest.approx(scale, rel=0.01)


def test_of_a_convolution_on_a_large_torus() -> None:
    """Never above the truth, and little below it, though not every frequency is looked at."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        kernel = torch.randn(6, 4, 3, 3, generator=generator, dtype=torch.float64)
        blocks = torch.fft.fft2(kernel, s=(34, 35)).flatten(2).permute(2, 0, 1)
        true = torch.linalg.matrix_norm(blocks, 2).amax().item()
        assert 0.97 * true <= spectral_norm(kernel, torus=(34, 35)).item() <= true * (1 + 1e-12)


CONVOLUTIONS: list[dict[str, Any]] = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3},
    {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
    {"kernel_size": 3, "padding": 1, "stride": 2},
    {"kernel_size": (3, 2), "padding": (1, 0), "stride": (2, 3)},
    {"kernel_size": 3, "padding": 1, "dilation": 2},
    {"kernel_size": 3, "padding": "same", "groups": 2},
    {"kernel_size": 4, "padding": "same"},
    {"kernel_size": 1},
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("settings", CONVOLUTIONS, ids=str)
def test_convolutions(settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer, x = nn.Conv2d(4, 6, **settings).double(), torch.randn(2, 4, 8, 9).double()
    (norm,) = LayerNorms(layer, x)().tolist()
    assert explicit(layer, x) * (1 - 1e-9) <= norm <= explicit(layer, x) * 1.2  # of a torus a little larger


def test_networks() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(48, 5)).double()
    x = torch.randn(2, 2, 6, 6).double()
    norms = LayerNorms(network, x)
    assert network.training and not list(norms.parameters())
    found = norms()
    assert explicit(network[0], x) <= found[0].item() <= explicit(network[0], x) * 1.3
    assert found[1].item() == pytest.approx(explicit(network[4], torch.randn(2, 48).double()), rel=1e-12)
    assert spectral_penalty(torch.tensor([0.5, 1.5, 3.0])).item() == 4.25
    before = float(found.prod().detach())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for _ in range(20):
        optimizer.zero_grad()
        norms().log().sum().backward()
        optimizer.step()
    assert float(norms().prod().detach()) < 0.5 * before


def test_what_has_no_norm_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no nn\.Linear"):
        LayerNorms(nn.ReLU(), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="'reflect'"):
        LayerNorms(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), torch.zeros(1, 1, 5, 5))
