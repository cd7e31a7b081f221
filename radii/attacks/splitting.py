"""Attacks on the classifier that splitting noise smooths, against its deterministic l1 radii.
Formulas: docs/numerics.md 9.3.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from radii.attacks.network import margin_gradient
from radii.attacks.result import Attack, NotAttackable
from radii.smoothing.noise.grid import STEPS
from radii.smoothing.sampling import Classifier
from radii.smoothing.splitting import Splitting, certify_splitting

SAMPLES = 64  # offsets that the gradient is a mean of
ALONE = 4  # values that a search begins with
TOGETHER = (8, 64)  # values that share what may be moved
FARTHER = (2, 4, 8, 16)  # times the radius


def attack_splitting(
    classifier: Classifier,
    x: Tensor,
    *,
    splitting: Splitting,
    num_classes: int,
    prediction: int,
    steps: int,
    batch_size: int = 100,
    logits: Classifier | None = None,
) -> Attack:
    """Whether g answers otherwise than ``prediction`` within ``steps`` grid steps in l1, and where it was seen to.

    The steepest values are moved as far as the radius goes: some one after the other, some by equal shares. Each point
    is on the grid, and g is evaluated there in full, so what is found is exact. ``logits``: as of ``SmoothedAttack``,
    what gradients are of. Otherwise as :func:`certify_splitting`.

    Raises:
        NotAttackable: there is no gradient, or it is zero or not finite at all offsets.
    """
    on_grid = splitting.grid.steps(x.cpu())
    if on_grid is None:
        raise ValueError(f"x: is not on the grid of {STEPS} steps from {splitting.low} to {splitting.high}")
    start = on_grid.flatten().double()
    downhill = -_gradient(logits or classifier, x, splitting, prediction)

    def answer(moved: Tensor) -> tuple[Tensor, int | None]:
        point = torch.empty_like(x)
        splitting.grid.values((start + moved).to(torch.int16).view(x.shape), point)
        found = certify_splitting(
            classifier, point, num_classes=num_classes, splitting=splitting, batch_size=batch_size
        )
        return point, found.pilot_class  # g's class, also where no step is certified

    for times in (1, *FARTHER):
        for moved in _moves(start, downhill, steps * times, wide=times == 1):
            point, seen = answer(moved)
            if seen is not None and seen != prediction:
                distance = float(moved.abs().sum()) * (splitting.high - splitting.low) / STEPS
                inside = times == 1
                return Attack(distance, seen, inside, point.cpu().numpy() if inside else None)
    return Attack(None, None, False, None)


def _gradient(classifier: Classifier, x: Tensor, splitting: Splitting, prediction: int) -> Tensor:
    """The gradient of ``prediction``'s margin, mean over offsets: flat, float64, as if pieces moved with the input."""
    total, finite = torch.zeros(x.numel(), dtype=torch.float64), 0
    number = min(SAMPLES, splitting.period)
    for sample in range(number):
        piece = splitting.pieces(x, sample * splitting.period // number, 1)
        _, [gradient] = margin_gradient(classifier, piece, prediction, None)
        if bool(gradient.isfinite().all()):
            total += gradient.double().cpu().flatten()
            finite += 1
    if not bool(total.any()):
        raise NotAttackable(f"its gradient is {'zero' if finite else 'not finite'} around the input")
    return total / finite


def _moves(start: Tensor, downhill: Tensor, budget: int, *, wide: bool) -> Iterator[Tensor]:
    """Whole steps along ``downhill``, ``budget`` in all at most, that stay on the grid."""
    room = torch.where(downhill > 0, STEPS - start, torch.where(downhill < 0, start, 0.0))
    order = (downhill.abs() * (room > 0)).argsort(descending=True, stable=True)
    sign = downhill.sign()
    for first in range(min(ALONE if wide else 1, len(order))):
        left, moved = budget, torch.zeros_like(start)
        for j in order[first:].tolist():
            moved[j] = min(left, int(room[j]))
            left -= int(moved[j])
            if not left:
                break
        yield moved * sign
    for number in TOGETHER if wide else ():
        share = budget // number
        if share and number <= len(order):
            moved = torch.zeros_like(start)
            moved[order[:number]] = room[order[:number]].clamp(max=share)
            yield moved * sign
