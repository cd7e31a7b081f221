"""Which bands of frequencies a network's answers rest on: the report, of images and of 1-D signals.

Three views: how much the first layer and the Jacobian pass of a band, what the accuracy is without it, and its Shapley
share of the accuracy. A band that is removed is 0, which no input of the data need be like.
Formulas: docs/diagnostics.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy.typing as npt
import torch
from torch import Tensor, nn

from radii.diagnostics import shapley
from radii.diagnostics.bands import BANDS, Bands
from radii.diagnostics.errors import NonFiniteLoss
from radii.diagnostics.first_layer import FirstLayer, first_layer
from radii.diagnostics.jacobian import MOST_CLASSES, jacobian, power_norms
from radii.diagnostics.objective import BATCH, Network, check_outputs, checked_labels, in_float64, module_of

GameName = Literal["accuracy", "log_p"]
Shares = Literal["auto", "exact", "permutations"]
Channels = Literal["first", "last", "none"]

INPUTS = 64  # at which the Jacobian is looked at
PERMUTATIONS = 8  # an input
AT_ONCE = 16  # inputs whose Jacobians lie in memory


@dataclass(frozen=True, slots=True)
class Band:
    """What is said of a band.

    Attributes:
        low, high: radii in cycles a pixel, the upper one included; both 0 for the mean.
        frequencies: how many, of one channel.
        energy: its share of the inputs' squares.
        first_layer: ``|W P_b|``; None where no layer reads the input.
        jacobian: ``|J P_b|`` at the inputs looked at, the mean and the largest. Values at those inputs, so from below:
            nothing is said of others.
        accuracy_without: with the band removed.
        share: of the game, as a Shapley value; the standard error is over inputs.
    """

    low: float
    high: float
    frequencies: int
    energy: float
    first_layer: float | None
    jacobian_mean: float
    jacobian_max: float
    accuracy_without: float
    share: float
    share_error: float | None


@dataclass(frozen=True, slots=True)
class Frequency:
    """Attributes:
    jacobian: the mean and the largest ``|J|`` at the inputs looked at; no less than a band's, no more than the root
        of the sum of the bands' squares.
    jacobian_exact: whether it was written down; else power iteration, from below.
    game: ``accuracy``: 1 for a right answer; ``log_p``: the log-probability of the right class. Two games: a band
        may raise one and lower the other.
    baseline: the game's mean value with no band at all, which the shares together lift to the whole's.
    """

    bands: tuple[Band, ...]
    samples: int
    accuracy: float
    first_layer: FirstLayer | None
    jacobian_inputs: int
    jacobian_mean: float
    jacobian_max: float
    jacobian_exact: bool
    game: GameName
    shares_exact: bool
    value: float
    baseline: float

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def frequency(
    network: Network,
    x: npt.ArrayLike | Tensor,
    y: npt.ArrayLike | Tensor | None,
    *,
    bands: int = BANDS,
    game: GameName = "accuracy",
    shares: Shares = "auto",
    permutations: int = PERMUTATIONS,
    channels: Channels = "first",
    seed: int = 0,
) -> Frequency:
    """The report, of inputs (N, channels, *size), or (N, length), with labels (N,).

    Args:
        channels: where they stand in an input; ``last``: (N, *size, channels), ``none``: (N, *size).
        shares: ``exact`` over all subsets of up to 8 bands; ``permutations``: that many random orders an input;
            ``auto``: exact where that is allowed.

    Raises:
        CannotDiagnose: see :mod:`radii.diagnostics.errors`.
        ValueError: shapes do not fit, or there is no such game or way to shares.
    """
    if game not in get_args(GameName) or shares not in get_args(Shares) or permutations < 1:
        raise ValueError("game is accuracy or log_p, shares auto, exact or permutations, permutations 1 or more")
    if channels not in get_args(Channels):
        raise ValueError("channels is first, last or none")
    given = torch.as_tensor(x).cpu().double()
    if not len(given) or given.ndim < 2:
        raise ValueError("inputs have the shape (N, channels, *size), or (N, length), and N is 1 or more")
    module = module_of(network)
    signals, as_given = _laid_out(given, channels)
    split = Bands(signals.shape[2:], bands)
    plain = in_float64(module)

    def logits(signals: Tensor) -> Tensor:
        return plain(as_given(signals))

    clean = _batched(logits, signals)
    labels = checked_labels(y, len(signals), clean.shape[1])
    if not bool(clean.isfinite().all()):
        raise NonFiniteLoss("an output of the network is NaN or infinite")
    check_outputs(signals, clean)
    if shares == "auto":
        shares = "exact" if bands <= shapley.MOST_EXACT else "permutations"
    score = _accuracy if game == "accuracy" else _log_p

    def played(present: Tensor) -> Tensor:
        return score(_batched(logits, split.filtered(signals, present[:, None, split.of])), labels)

    generator = torch.Generator().manual_seed(seed)
    if shares == "exact":
        phi = shapley.exact(played, len(signals), bands)
    else:
        phi = shapley.sampled(played, len(signals), bands, permutations, generator)
    first = first_layer(module, signals, as_given, split)
    norms, whole, is_exact = _jacobian_norms(logits, signals[:INPUTS], split, generator)
    reach = _largest_radius(split.size)
    sizes, energy = split.sizes, signals.square().sum()
    error = phi.std(0) / math.sqrt(len(phi)) if len(phi) > 1 else None
    found = []
    for b in range(bands):
        part = split.only(signals, b)
        without = _accuracy(_batched(logits, signals - part), labels)
        found.append(
            Band(
                low=reach * max(0, b - 1) / (bands - 1),
                high=reach * b / (bands - 1),
                frequencies=sizes[b],
                energy=float(part.square().sum() / energy) if float(energy) else 0.0,
                first_layer=None if first is None else first.bands[b],
                jacobian_mean=float(norms[:, b].mean()),
                jacobian_max=float(norms[:, b].max()),
                accuracy_without=float(without.mean()),
                share=float(phi[:, b].mean()),
                share_error=None if error is None else float(error[b]),
            )
        )
    return Frequency(
        bands=tuple(found),
        samples=len(signals),
        accuracy=float(_accuracy(clean, labels).mean()),
        first_layer=first,
        jacobian_inputs=len(whole),
        jacobian_mean=float(whole.mean()),
        jacobian_max=float(whole.max()),
        jacobian_exact=is_exact,
        game=game,
        shares_exact=shares == "exact",
        value=float(score(clean, labels).mean()),
        baseline=float(played(torch.zeros((len(signals), bands), dtype=torch.bool)).mean()),
    )


def _jacobian_norms(
    logits: Callable[[Tensor], Tensor], x: Tensor, bands: Bands, generator: torch.Generator
) -> tuple[Tensor, Tensor, bool]:
    """(N, bands), (N,), and whether they are exact at those inputs."""
    with torch.no_grad():
        classes = logits(x[:1]).shape[1]
    if classes > MOST_CLASSES:
        return *power_norms(logits, x, bands, generator), False
    norms_of, whole_of = [], []
    for part in torch.split(x, AT_ONCE):
        rows = jacobian(logits, part)
        norms_of.append(bands.norms(rows))
        gram = rows.flatten(2) @ rows.flatten(2).transpose(1, 2)
        whole_of.append(torch.linalg.eigvalsh(gram)[:, -1].clamp(min=0).sqrt())
    return torch.cat(norms_of), torch.cat(whole_of), True


def _laid_out(x: Tensor, channels: Channels) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Inputs as (N, channels, *size), and the way back."""
    if channels == "none" or x.ndim == 2:
        return x[:, None], lambda signals: signals[:, 0]
    if channels == "last":
        return x.movedim(-1, 1), lambda signals: signals.movedim(1, -1)
    return x, lambda signals: signals


def _batched(logits: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([logits(part) for part in torch.split(x, BATCH)])


def _accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(1) == labels).double()


def _log_p(logits: Tensor, labels: Tensor) -> Tensor:
    return -nn.functional.cross_entropy(logits, labels, reduction="none")


def _largest_radius(size: tuple[int, ...]) -> float:
    return math.sqrt(sum((n // 2 / n) ** 2 for n in size))
