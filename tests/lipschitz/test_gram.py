"""The differentiable Gram norm: an upper estimate that converges, with the right gradient."""

import pytest
import torch

from radii.lipschitz import conv_norm, gram_norm


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype).requires_grad_()


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (1, 5)])
def test_converges_from_above(shape):
    weight = random(*shape)
    true = torch.linalg.matrix_norm(weight, 2)
    estimates = torch.stack([gram_norm(weight, steps=steps) for steps in range(13)])
    assert bool((estimates >= true * (1 - 1e-12)).all())
    assert bool((estimates.diff() <= 1e-12).all())
    torch.testing.assert_close(estimates[-1], true, rtol=1e-6, atol=0)


def test_circular_convolution():
    weight = random(3, 2, 3, 3)
    bound = conv_norm(weight, (8, 8), padding=1, padding_mode="circular")
    assert gram_norm(weight, steps=16, torus=(8, 8)).item() == pytest.approx(bound.upper, rel=1e-4)


def test_gradients():
    assert torch.autograd.gradcheck(lambda w: gram_norm(w, steps=5), random(4, 6))
    assert torch.autograd.gradcheck(lambda w: gram_norm(w, steps=5, torus=(4, 5)), random(2, 3, 3, 2))


def test_gradient_is_that_of_the_norm():
    weight = random(6, 4)
    (gradient,) = torch.autograd.grad(gram_norm(weight, steps=14), weight)
    u, _, v = torch.linalg.svd(weight.detach(), full_matrices=False)
    torch.testing.assert_close(gradient, torch.outer(u[:, 0], v[0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_any_scale_in_float32(scale):
    weight = random(16, 8).detach().float()
    scaled = (weight * scale).requires_grad_()
    norm = gram_norm(scaled, steps=10)
    (gradient,) = torch.autograd.grad(norm, scaled)
    assert norm.item() / scale == pytest.approx(gram_norm(weight, steps=10).item(), rel=1e-4)
    assert bool(gradient.isfinite().all())


def test_zero_weight():
    weight = torch.zeros(3, 4, requires_grad=True)
    norm = gram_norm(weight)
    (gradient,) = torch.autograd.grad(norm, weight)
    assert norm.item() == 0
    assert not gradient.any()


def test_a_torus_that_crops_the_kernel_is_refused():
    with pytest.raises(ValueError, match="does not hold"):
        gram_norm(random(2, 2, 5, 5), torus=(4, 8))
