"""The differentiable Gram norm: an upper estimate that converges, with the right gradient."""

from typing import Any

import pytest
import torch

from radii.lipschitz import conv_norm, gram_norm


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype).requires_grad_()


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (1, 5)])
def test_converges_from_above(shape: tuple[int, int]) -> None:
    weight = random(*shape)
    true = torch.linalg.matrix_norm(weight, 2)
    estimates = torch.stack([gram_norm(weight, steps=steps) for steps in range(13)])
    assert bool((estimates >= true * (1 - 1e-12)).all())
    assert bool((estimates.diff() <= 1e-12).all())
    torch.testing.assert_close(estimates[-1], true, rtol=1e-6, atol=0)


def test_circular_convolution() -> None:
    weight = random(3, 2, 3, 3)
    bound = conv_norm(weight, (8, 8), padding=1, padding_mode="circular")
    assert gram_norm(weight, steps=16, torus=(8, 8)).item() == pytest.approx(bound.upper, rel=1e-4)


CASES = [
    ((4, 6), {"steps": 5}),
    ((6, 4), {"steps": 0}),
    ((2, 3, 5, 4), {"steps": 3}),
    ((1, 5), {"steps": 1}),
    ((2, 3, 3, 2), {"steps": 4, "torus": (4, 5)}),
]


@pytest.mark.parametrize(("shape", "settings"), CASES)
def test_gradients_once_and_twice(shape: tuple[int, ...], settings: dict[str, Any]) -> None:
    weight = random(*shape)
    assert torch.autograd.gradcheck(lambda w: gram_norm(w, **settings), weight)
    assert torch.autograd.gradgradcheck(lambda w: gram_norm(w, **settings), weight)


def test_it_is_the_schatten_norm() -> None:
    weight = random(7, 5).detach()
    values = torch.linalg.svdvals(weight)
    for steps in range(6):
        torch.testing.assert_close(gram_norm(weight, steps=steps), torch.linalg.vector_norm(values, 2 ** (steps + 1)))


def test_stacks_and_function_transforms() -> None:
    weights = random(3, 5, 4)
    one_by_one = torch.stack([gram_norm(weight) for weight in weights])
    torch.testing.assert_close(gram_norm(weights), one_by_one)
    (gradient,) = torch.autograd.grad(one_by_one.sum(), weights)
    transformed = torch.func.vmap(torch.func.grad(gram_norm))(weights.detach())
    torch.testing.assert_close(transformed, gradient)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # the compiler does it itself
@pytest.mark.parametrize(("shape", "settings"), [CASES[0], CASES[-1]])
def test_compiled_in_one_graph(shape: tuple[int, ...], settings: dict[str, Any]) -> None:
    weight = random(*shape)
    compiled = torch.compile(lambda w: gram_norm(w, **settings), fullgraph=True, backend="aot_eager")
    (gradient,) = torch.autograd.grad(compiled(weight).sum(), weight)
    torch.testing.assert_close(gradient, torch.autograd.grad(gram_norm(weight, **settings).sum(), weight)[0])


def test_autocast_does_not_narrow_it() -> None:
    weight = random(50, 40, dtype=torch.float32)
    plain = gram_norm(weight, steps=10)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = gram_norm(weight, steps=10)
        (gradient,) = torch.autograd.grad(cast, weight)
    assert cast.dtype == torch.float32
    assert cast.item() == plain.item()
    assert torch.equal(gradient, torch.autograd.grad(plain, weight)[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_weights_are_computed_in_float32(dtype: torch.dtype) -> None:
    weight = (random(16, 8) * 100).detach().to(dtype)
    norm = gram_norm(weight, steps=10)
    assert norm.dtype == dtype
    assert norm == gram_norm(weight.float(), steps=10).to(dtype)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize(("shape", "settings"), CASES)
def test_on_a_gpu(shape: tuple[int, ...], settings: dict[str, Any]) -> None:
    weight = random(*shape)
    (here,) = torch.autograd.grad(gram_norm(weight, **settings).sum(), weight)
    there = weight.detach().cuda().requires_grad_()
    (gradient,) = torch.autograd.grad(gram_norm(there, **settings).sum(), there)
    torch.testing.assert_close(gradient.cpu(), here)


def test_gradient_is_that_of_the_norm() -> None:
    weight = random(6, 4)
    (gradient,) = torch.autograd.grad(gram_norm(weight, steps=14), weight)
    u, _, v = torch.linalg.svd(weight.detach(), full_matrices=False)
    torch.testing.assert_close(gradient, torch.outer(u[:, 0], v[0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-37, 1e-30, 1e30, 1e37])
def test_any_scale_in_float32(scale: float) -> None:
    weight = random(16, 8).detach().float()
    scaled = (weight * scale).requires_grad_()
    norm = gram_norm(scaled, steps=10)
    (gradient,) = torch.autograd.grad(norm, scaled)
    assert norm.item() / scale == pytest.approx(gram_norm(weight, steps=10).item(), rel=1e-4)
    assert bool(gradient.isfinite().all())


def test_zero_weight() -> None:
    weight = torch.zeros(3, 4, requires_grad=True)
    norm = gram_norm(weight)
    (gradient,) = torch.autograd.grad(norm, weight)
    assert norm.item() == 0
    assert not gradient.any()


def test_a_torus_that_crops_the_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="does not hold"):
        gram_norm(random(2, 2, 5, 5), torus=(4, 8))
