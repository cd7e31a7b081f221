from fractions import Fraction

import numpy as np
import pytest
import torch

from radii.attacks.ball import distance, dual_norm, projected, steepest
from radii.norms import Norm

ORDER = {"l2": 2.0, "linf": float("inf"), "l1": 1.0}
NORMS: tuple[Norm, ...] = ("l2", "linf", "l1")


@pytest.mark.parametrize("norm", NORMS)
def test_no_direction_of_length_1_grows_more_than_the_steepest(norm: Norm) -> None:
    draw = torch.Generator().manual_seed(0)
    gradient = torch.randn((3, 2, 5), generator=draw, dtype=torch.float64)
    step = steepest(gradient, norm)
    assert torch.linalg.vector_norm(step.flatten(1), ORDER[norm], dim=1).tolist() == pytest.approx([1, 1, 1])
    gain = (step * gradient).flatten(1).sum(1)
    assert gain.tolist() == pytest.approx(dual_norm(gradient, norm).tolist())
    others = torch.randn((1000, 1, 10), generator=draw, dtype=torch.float64)
    others /= torch.linalg.vector_norm(others, ORDER[norm], dim=2, keepdim=True)
    assert bool(((others * gradient.flatten(1)).sum(2) <= gain + 1e-12).all())
    assert not steepest(torch.zeros(1, 4), norm).any()
    for scale in (1e-38, 1e-25, 1e25, 1e38):  # whose squares float32 does not hold
        assert torch.allclose(steepest(gradient.sign().float() * scale, norm), steepest(gradient.sign(), norm).float())


@pytest.mark.parametrize("norm", NORMS)
def test_the_projection_is_the_nearest_point_of_the_ball(norm: Norm) -> None:
    draw = torch.Generator().manual_seed(1)
    delta = torch.randn((4, 6), generator=draw, dtype=torch.float64)
    inside = projected(delta, 0.7, norm)
    assert bool((torch.linalg.vector_norm(inside, ORDER[norm], dim=1) <= 0.7 + 1e-12).all())
    others = projected(delta[:, None] + torch.randn((4, 2000, 6), generator=draw), 0.7, "l2").flatten(0, 1)
    others = projected(others, 0.7, norm).view(4, 2000, 6)
    assert bool((((others - delta[:, None]) ** 2).sum(2) >= ((inside - delta) ** 2).sum(1)[:, None] - 1e-9).all())
    assert torch.equal(projected(0.01 * delta, 0.7, norm), 0.01 * delta)


@pytest.mark.parametrize("norm", NORMS)
def test_a_distance_is_never_short(norm: Norm) -> None:
    draw = np.random.default_rng(2)
    for scale in (1e-3, 1.0, 1e3):
        x = draw.standard_normal(50).astype(np.float32)
        other = x + scale * draw.standard_normal(50)
        change = [abs(Fraction(float(b)) - Fraction(float(a))) for a, b in zip(x, other, strict=True)]
        found = Fraction(distance(x, other, norm))
        exact, size = (
            (sum(c * c for c in change), found * found)
            if norm == "l2"
            else (max(change) if norm == "linf" else sum(change), found)
        )
        assert exact <= size <= exact * Fraction(1 + 1e-12)
