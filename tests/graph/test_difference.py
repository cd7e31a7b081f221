"""Outputs on their own scale, and what is read from strangers held to that."""

import pytest
import torch
from torch import nn

from radii.graph import check_batch_independence
from radii.graph.difference import difference

ROWS = torch.tensor([[1000.0, 1.0, 0.0], [-500.0, 0.5, 0.0]], dtype=torch.float64)


def test_a_column_is_measured_by_its_own_largest_entry() -> None:
    for share, allowance in ((1e-4, 1.0), (0.1, 100.0), (1.0, 1000.0)):
        moved = ROWS + torch.tensor([0.0, 0.01, 0.0])
        assert difference(moved, ROWS, share=share) == pytest.approx(0.01 / allowance)
    assert difference(ROWS * 1.001, ROWS, share=1e-4) == pytest.approx(0.001)
    assert difference(ROWS, ROWS, share=0.1) == 0
    assert difference(ROWS[:, 2:], ROWS[:, 2:], share=0.1) == 0
    assert difference(ROWS[:, 2:] + 3, ROWS[:, 2:], share=0.1) == 3  # of nothing: absolute


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_must_not_be_so_on_both_sides(value: float) -> None:
    spoilt = ROWS.clone()
    spoilt[1, 1] = value
    assert difference(spoilt, ROWS, share=0.1) == difference(ROWS, spoilt, share=0.1) == torch.inf
    assert difference(spoilt, spoilt, share=0.1) == 0
    nothing = torch.full_like(ROWS, value)
    assert difference(nothing, nothing, share=0.1) == 0
    assert difference(ROWS[:1], ROWS, share=0.1) == torch.inf


class TwoScales(nn.Module):
    """Outputs around 1000 and around 1; of the latter, a twentieth is the batch's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        small = x[:, :1] + 0.05 * x[:, :1].mean(dim=0)
        return torch.cat([1000 * x[:, 1:], small], dim=1)


def test_a_small_output_that_mixes_samples_is_found() -> None:
    """Of the largest output it is one part in 50,000."""
    assert not check_batch_independence(TwoScales(), (2,))
    assert check_batch_independence(nn.Linear(2, 2), (2,))
