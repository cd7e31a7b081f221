"""Losses for a classifier that is going to be smoothed: many noisy copies of each input."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def noisy(x: Tensor, sigma: float, *, copies: int = 1, generator: torch.Generator | None = None) -> Tensor:
    """(copies, *x.shape): inputs plus Gaussian noise, as smoothing adds it. (Cohen et al., ICML 2019, arXiv
    1902.02918.)

        logits = model(noisy(x, 0.25, copies=4).flatten(0, 1)).unflatten(0, (4, -1))

    Args:
        x: (batch, ...).
        sigma: the standard deviation, in units of x; that of the smoothing to come.
    """
    return x + sigma * torch.randn((copies, *x.shape), dtype=x.dtype, device=x.device, generator=generator)


def noisy_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy of all copies: for votes, ``"scores": "hard"``.

    Args:
        logits: (copies, batch, classes).
        labels: (batch,).
    """
    return functional.cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits)))


def consistency(logits: Tensor, *, entropy: float = 0.05) -> Tensor:
    """``mean KL(p || p_i) + entropy H(p)``, p the mean of the copies' p_i: to be added to the cross-entropy, times 5 to
    20.

    What the copies agree on is voted for by nearly all noise. (Jeong and Shin, NeurIPS 2020, arXiv 2006.04062.)

    Args:
        logits: (copies, batch, classes), of two copies or more.
        entropy: the weight of the second part.
    """
    log_each = logits.log_softmax(-1)
    log_mean = log_each.logsumexp(0) - torch.tensor(len(logits), dtype=logits.dtype).log()
    mean = log_mean.exp()
    divergence = (mean * (log_mean - log_each)).sum(-1).mean()
    return divergence - entropy * (mean * log_mean).sum(-1).mean()


class SoftScoreLoss(nn.Module):
    """``-log mean_i softmax(f z_i)_y``: for mean scores, ``"scores": "soft"``, with the factor f of the logits trained
    too.

    The service chooses a factor of its own on its pilot; logits that were trained for factor 1 need none.

    Args:
        factor: f at the start; what logits are multiplied with, an inverse temperature.
    """

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.log_factor = nn.Parameter(torch.tensor(factor).log())

    @property
    def factor(self) -> Tensor:
        """f, a scalar above 0."""
        return self.log_factor.exp()

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Of logits (copies, batch, classes) and labels (batch,), the mean over the batch."""
        log_scores = (self.factor * logits).log_softmax(-1)
        log_mean = log_scores.logsumexp(0) - torch.tensor(len(logits), dtype=logits.dtype).log()
        return functional.nll_loss(log_mean, labels)
