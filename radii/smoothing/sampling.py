"""The votes of a classifier, or outputs of a regressor, under noise, chunk by chunk, and what is certified by them.
See docs/numerics.md 7.2.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import torch

from radii.smoothing.keys import CHUNK, Stage, chunk_seed, chunk_size, chunks
from radii.smoothing.median import MedianBounds, median_bounds
from radii.smoothing.noise import Fill, Noise, Part
from radii.smoothing.prediction import SmoothedPrediction
from radii.smoothing.procedure import certify_decision, certify_radius

Classifier = Callable[[torch.Tensor], torch.Tensor]


class _Law(TypedDict):
    sigma: float
    law: str
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
    synchronisation with the device a chunk; one buffer of noisy copies, whatever the size. On a CPU the last batch is
    as short as what is left; elsewhere all are whole, so that a device sees one shape.

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
    votes: npt.NDArray[np.int64] = _count(classifier, x, num_classes, fill, [size], batch_size, _whole(x))[0]
    return votes


def count_parts(
    classifier: Classifier, parts: Sequence[Part], *, num_classes: int, noise: Noise, batch_size: int
) -> npt.NDArray[np.int64]:
    """Votes, shape (len(parts), num_classes + 1), of several chunks in batches that they share.

    All batches are whole, and run across the borders of parts: what is beyond the last one is not counted. One
    synchronisation with the device for all. A part's samples are those of :func:`count_chunk`; where the classifier
    gives a row other bits at another place in a batch, its votes may differ at near-ties
    (``radii.execution.row_invariance``).
    Otherwise as :func:`count_chunk`; raises ValueError also for no parts, and for inputs that are unlike in shape, type
    or device.
    """
    if not parts:
        raise ValueError("parts: there are none")
    x = parts[0].x
    for part in parts:
        _check_size(part.size)
        if (part.x.shape, part.x.dtype, part.x.device) != (x.shape, x.dtype, x.device):
            raise ValueError("parts: must be inputs of one shape and type, on one device")
    _check(classifier, x, num_classes, batch_size)
    sizes = [part.size for part in parts]
    return _count(classifier, x, num_classes, noise.streams(parts), sizes, batch_size, whole=True)


def _count(
    classifier: Classifier,
    x: torch.Tensor,
    num_classes: int,
    fill: Fill,
    sizes: Sequence[int],
    batch_size: int,
    whole: bool,
) -> npt.NDArray[np.int64]:
    """Votes of each of the parts that ``fill`` makes one after the other."""
    cells = num_classes + 1
    with torch.inference_mode():
        offsets = None  # of a sample: the cells of the parts before its own
        if len(sizes) > 1:
            of_sample = np.repeat(np.arange(len(sizes)) * cells, sizes)
            offsets = torch.from_numpy(of_sample).to(x.device, non_blocking=True)
        votes = [
            torch.where(logits.isfinite().all(1), logits.argmax(1), num_classes)
            for logits in _logits(classifier, x, num_classes, fill, sum(sizes), batch_size, whole)
        ]
        cell = torch.cat(votes) if offsets is None else torch.cat(votes).add_(offsets)
        # Once and at the end, where what waits for the device does no harm: bincount does, and index_add_ may where
        # torch is told to be deterministic. Whole numbers have the same sum in any order.
        counts = torch.zeros(len(sizes) * cells, dtype=torch.int64, device=x.device)
        counts.index_add_(0, cell, torch.ones(1, dtype=torch.int64, device=x.device).expand(len(cell)))
        result: npt.NDArray[np.int64] = counts.cpu().numpy().reshape(len(sizes), cells)
    if (counted := result.sum(axis=1).tolist()) != list(sizes):
        raise RuntimeError(f"{counted} votes counted for {list(sizes)} samples: they must be run again")
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
        parts = [part.clone() for part in _logits(classifier, x, num_classes, fill, size, batch_size, _whole(x))]
        return np.asarray(torch.cat(parts).cpu().numpy())


def _noisy(x: torch.Tensor, noise: Noise, key: bytes, stage: Stage, number: int, size: int) -> Fill:
    """The chunk's stream."""
    _check_size(size)
    return noise.stream(chunk_seed(key, stage, number), x)


def _whole(x: torch.Tensor) -> bool:
    """Whether the last batch of a chunk of its own is filled up: a CPU has its answer sooner without."""
    return x.device.type != "cpu"


def _logits(
    classifier: Classifier, x: torch.Tensor, num_classes: int, fill: Fill, size: int, batch_size: int, whole: bool
) -> Iterator[torch.Tensor]:
    """Batch by batch, of ``size`` samples in all; a batch's samples are overwritten by the next.

    ``whole``: the classifier sees batches of ``batch_size`` alone, the last one filled up with what is not asked for.
    """
    rows = batch_size if whole else min(batch_size, size)
    noisy = torch.empty((rows, *x.shape), dtype=torch.float32, device=x.device)
    if rows > size:
        noisy[size:] = x  # something that the network takes
    for start in range(0, size, batch_size):
        asked = noisy[: size - start]
        fill(asked)
        batch = noisy if whole else asked
        logits = classifier(batch)
        if logits.shape != (len(batch), num_classes):
            raise ValueError(
                f"classifier: gave shape {tuple(logits.shape)} for {len(batch)} samples, "
                f"not {(len(batch), num_classes)}"
            )
        yield logits[: len(asked)] if whole else logits


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


def _check_size(size: int) -> None:
    if not 1 <= size <= CHUNK:
        raise ValueError(f"size: a chunk has 1 to {CHUNK} samples, not {size}")


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
