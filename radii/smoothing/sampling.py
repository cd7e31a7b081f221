"""The votes of a classifier, or outputs of a regressor, under noise, chunk by chunk, and what is certified by them."""

from collections.abc import Callable, Iterator
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import torch

from radii.norms import Law
from radii.smoothing.keys import CHUNK, Stage, chunk_seed, chunk_size, chunks
from radii.smoothing.median import MedianBounds, median_bounds
from radii.smoothing.noise import Fill, Noise
from radii.smoothing.prediction import SmoothedPrediction
from radii.smoothing.procedure import certify_decision, certify_radius

Classifier = Callable[[torch.Tensor], torch.Tensor]


class _Law(TypedDict):
    sigma: float
    law: Law
    tail_mass: float


def count_chunk(
    classifier: Classifier,
    x: torch.Tensor,
    *,
    num_classes: int,
    noise: Noise,
    key: bytes,
    stage: Stage,
    number: int,
    size: int,
    batch_size: int,
) -> npt.NDArray[np.int64]:
    """Votes, shape (num_classes + 1,), of the first ``size`` samples of a chunk; the last entry: non-finite logits.

    ``x`` is one float32 input without batch axis, in the client's input space: noise is added there, first; clipping
    and normalisation belong to ``classifier``, which maps (batch, *x.shape) to logits (batch, num_classes). Ties go to
    the lowest index. The noise is a function of (key, stage, number) alone, whatever the batch size. One
    synchronisation with the device a chunk; one buffer of noisy copies, whatever the size.

    TF32 is a setting of the process, not of this call: on CUDA, turn it off
    (``torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False``) or say it was on.

    Raises ValueError for arguments out of range, for a module left in training mode, and for logits of another
    shape.
    """
    _check(classifier, x, num_classes, batch_size)  # before there is noise for such an x
    fill = _noisy(x, noise, key, stage, number, size)
    return count_votes(classifier, x, num_classes=num_classes, fill=fill, size=size, batch_size=batch_size)


def count_votes(
    classifier: Classifier, x: torch.Tensor, *, num_classes: int, fill: Fill, size: int, batch_size: int
) -> npt.NDArray[np.int64]:
    """Votes as of :func:`count_chunk`, on ``size`` copies of ``x`` that ``fill`` makes; errors the same."""
    _check(classifier, x, num_classes, batch_size)
    with torch.inference_mode():
        counts = torch.zeros(num_classes + 1, dtype=torch.int64, device=x.device)
        one = torch.ones(1, dtype=torch.int64, device=x.device)
        for logits in _logits(classifier, x, num_classes, fill, size, batch_size):
            votes = torch.where(logits.isfinite().all(1), logits.argmax(1), num_classes)
            counts.index_add_(0, votes, one.expand(len(logits)))  # bincount would wait for the device
    result: npt.NDArray[np.int64] = counts.cpu().numpy()
    if result.sum() != size:
        raise RuntimeError(f"{result.sum()} votes counted for {size} samples: this chunk must be run again")
    return result


def logits_chunk(
    classifier: Classifier,
    x: torch.Tensor,
    *,
    num_classes: int,
    noise: Noise,
    key: bytes,
    stage: Stage,
    number: int,
    size: int,
    batch_size: int,
) -> npt.NDArray[np.floating]:
    """The logits (size, num_classes) themselves, of the samples that :func:`count_chunk` counts; errors the same.

    They may be a regressor's outputs, of which one is enough.
    """
    _check(classifier, x, num_classes, batch_size, least=1)
    fill = _noisy(x, noise, key, stage, number, size)
    with torch.inference_mode():
        parts = [part.clone() for part in _logits(classifier, x, num_classes, fill, size, batch_size)]
        return np.asarray(torch.cat(parts).cpu().numpy())


def _noisy(x: torch.Tensor, noise: Noise, key: bytes, stage: Stage, number: int, size: int) -> Fill:
    """The chunk's stream."""
    if not 1 <= size <= CHUNK:
        raise ValueError(f"size: a chunk has 1 to {CHUNK} samples, not {size}")
    return noise.stream(chunk_seed(key, stage, number), x)


def _logits(
    classifier: Classifier, x: torch.Tensor, num_classes: int, fill: Fill, size: int, batch_size: int
) -> Iterator[torch.Tensor]:
    """Batch by batch; a batch's samples are overwritten by the next."""
    noisy = torch.empty((min(batch_size, size), *x.shape), dtype=torch.float32, device=x.device)
    for start in range(0, size, batch_size):
        batch = noisy[: size - start]
        fill(batch)
        logits = classifier(batch)
        if logits.shape != (len(batch), num_classes):
            raise ValueError(
                f"classifier: gave shape {tuple(logits.shape)} for {len(batch)} samples, "
                f"not {(len(batch), num_classes)}"
            )
        yield logits


def certify(
    classifier: Classifier,
    x: torch.Tensor,
    *,
    num_classes: int,
    noise: Noise,
    alpha: float,
    n0: int,
    n: int,
    key: bytes,
    target_radius: float | None = None,
    batch_size: int = 100,
) -> SmoothedPrediction:
    """Certifies one input: its radius (:func:`certify_radius`), or ``target_radius`` (:func:`certify_decision`).

    ``key`` comes from :func:`noise_key`; ask the same question twice and the answer is the same. Otherwise as
    :func:`count_chunk`; about 100 images a batch suit a processor's caches.
    """

    def count(stage: Stage, number: int, size: int) -> npt.NDArray[np.int64]:
        return count_chunk(
            classifier,
            x,
            num_classes=num_classes,
            noise=noise,
            key=key,
            stage=stage,
            number=number,
            size=size,
            batch_size=batch_size,
        )

    law: _Law = {"sigma": noise.sigma, "law": noise.law, "tail_mass": noise.tail_mass(x.numel())}
    if target_radius is None:
        return certify_radius(count, n0=n0, n=n, alpha=alpha, **law)
    return certify_decision(count, target_radius=target_radius, n0=n0, n=n, alpha=alpha, **law)


def certify_median(
    regressor: Classifier,
    x: torch.Tensor,
    *,
    outputs: int,
    noise: Noise,
    radius: float,
    alpha: float,
    n: int,
    key: bytes,
    batch_size: int = 100,
) -> MedianBounds:
    """Bounds on the median-smoothed regressor within an l2 ``radius`` of one input (:func:`median_bounds`).

    ``regressor`` maps (batch, *x.shape) to (batch, outputs). All n outputs are held at once. Otherwise as
    :func:`certify`. Raises ValueError also for noise of another law than the Gaussian.
    """
    if noise.law != "gaussian":
        raise ValueError(f"noise: must be gaussian, not {noise.law}")
    drawn = [
        logits_chunk(
            regressor,
            x,
            num_classes=outputs,
            noise=noise,
            key=key,
            stage="median",
            number=number,
            size=chunk_size(n, number),
            batch_size=batch_size,
        )
        for number in range(chunks(n))
    ]
    tail_mass = noise.tail_mass(x.numel())
    return median_bounds(np.concatenate(drawn), radius=radius, sigma=noise.sigma, alpha=alpha, tail_mass=tail_mass)


def _check(classifier: Classifier, x: torch.Tensor, num_classes: int, batch_size: int, *, least: int = 2) -> None:
    if x.dtype != torch.float32:
        raise ValueError(f"x: must be float32, not {x.dtype}; convert it before its digest is taken")
    if x.numel() == 0:
        raise ValueError(f"x: has no values (shape {tuple(x.shape)})")
    if num_classes < least:
        raise ValueError(f"num_classes: must be at least {least}, not {num_classes}")
    if batch_size < 1:
        raise ValueError(f"batch_size: must be at least 1, not {batch_size}")
    if isinstance(classifier, torch.nn.Module) and any(module.training for module in classifier.modules()):
        raise ValueError("classifier: is in training mode, where it is not one function; call .eval() first")
