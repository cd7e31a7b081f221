"""Randomized smoothing (Cohen, Rosenfeld, Kolter 2019): certified l2 radii from noisy votes.

The claim is about the *smoothed* classifier ``g(x) = argmax_c P(f(x + N(0, sigma^2 I)) = c)``, never about ``f``
itself, and holds with probability at least ``1 - alpha`` an input, over the noise.

Only ``noise``, ``sampling``, ``serving`` and what chooses an executor need torch; they are imported on first use.
"""

from typing import TYPE_CHECKING, Any

from radii.smoothing.keys import CHUNK, chunk_seed, chunk_size, chunks, input_digest, noise_key
from radii.smoothing.l1 import radius_laplace, radius_splitting, radius_uniform
from radii.smoothing.lipschitz_aware import radius_lipschitz
from radii.smoothing.median import MedianBounds, median_bounds, median_statistics
from radii.smoothing.prediction import SmoothedPrediction, certificate
from radii.smoothing.procedure import CountChunk, certify_decision, certify_radius, looks
from radii.smoothing.radius import minimum_n, radius_one_sided, radius_two_sided
from radii.smoothing.scores import Moments, bernstein_interval
from radii.smoothing.sequential import SequentialTest

if TYPE_CHECKING:
    from radii.smoothing.noise import (
        Grid,
        Noise,
        gaussian,
        grid_of,
        noise_of,
        rounded,
    )
    from radii.smoothing.sampling import certify, certify_median, count_chunk
    from radii.smoothing.serving import Answer, SmoothedClassifier, prediction_test
    from radii.smoothing.splitting import Splitting, certify_splitting

__all__ = [
    "CHUNK",
    "Answer",
    "CountChunk",
    "Grid",
    "MedianBounds",
    "Moments",
    "Noise",
    "SequentialTest",
    "SmoothedClassifier",
    "SmoothedPrediction",
    "Splitting",
    "bernstein_interval",
    "certificate",
    "certify",
    "certify_decision",
    "certify_median",
    "certify_radius",
    "certify_splitting",
    "chunk_seed",
    "chunk_size",
    "chunks",
    "count_chunk",
    "gaussian",
    "grid_of",
    "input_digest",
    "looks",
    "median_bounds",
    "median_statistics",
    "minimum_n",
    "noise_key",
    "noise_of",
    "prediction_test",
    "radius_laplace",
    "radius_lipschitz",
    "radius_one_sided",
    "radius_splitting",
    "radius_two_sided",
    "radius_uniform",
    "rounded",
]


def __getattr__(name: str) -> Any:  # PEP 562: whoever only checks a certificate does not wait for torch
    if name in ("Grid", "Noise", "noise_of", "grid_of", "gaussian", "rounded"):
        from radii.smoothing import noise as module
    elif name in ("certify", "certify_median", "count_chunk"):
        from radii.smoothing import sampling as module  # type: ignore[no-redef]
    elif name in ("Splitting", "certify_splitting"):
        from radii.smoothing import splitting as module  # type: ignore[no-redef]
    elif name in ("Answer", "SmoothedClassifier", "prediction_test"):
        from radii.smoothing import serving as module  # type: ignore[no-redef]
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(module, name)
