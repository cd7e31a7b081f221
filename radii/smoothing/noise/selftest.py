"""Whether a source draws the law it claims, where it runs now: asked before its votes certify anything.

A driver, a processor or a library that draws something else would make false certificates in silence. The seeds are
fixed, so a source that passed here passes again; with random ones each of the fifteen checks would fail a right source
with chance below 1e-10. What it can't see: mass below 1e-6 a value that the law lacks. That is in ``tail_mass``.
Formulas: docs/numerics.md 6.5.
"""

import hashlib
import math
from collections.abc import Iterator

import numpy as np
import torch
from scipy.special import bdtr, bdtrc, eval_legendre

from radii.laws import LAWS, Law
from radii.smoothing.noise.base import Noise, Part
from radii.smoothing.noise.fused import Fused
from radii.smoothing.noise.grid import STEPS, Grid, Values

AXES, SAMPLES = 1024, 256  # two streams of so many samples
TAIL_SAMPLES = 4096
LEVEL = 1e-10


class BrokenNoise(RuntimeError):
    """A source of noise does not draw its law: it must certify nothing."""


def check_noise(noise: Noise, device: torch.device | str = "cpu") -> None:
    """Compares a source with its law: Anderson-Darling, moments, correlation within and between streams, tails.

    One that a GPU draws is first compared, value by value, with what it is by definition. Takes some 0.2 s. Raises
    :class:`BrokenNoise`, naming every check that failed.
    """
    failed = [name for name, surprising in _checks(noise, torch.device(device)) if surprising]
    if failed:
        raise BrokenNoise(f"{noise.name} at sigma = {noise.sigma}: {', '.join(failed)} differ from {noise.law} noise")


def _checks(noise: Noise, device: torch.device) -> Iterator[tuple[str, bool]]:
    if isinstance(noise, Fused):
        yield "values", not all(_as_defined(noise, size) for size in (1, 4001))
    streams = [_draw(noise, device, number, SAMPLES).reshape(-1) for number in range(2)]
    if not all(np.isfinite(z).all() for z in streams):
        yield "finite values", True
        return
    dither = np.random.default_rng(0)
    first, second = (_uniform(noise, z, dither) for z in streams)
    both = np.concatenate([first, second])
    # The limit law's tail, sqrt(3) P(chi2_1 > 2 x) (Zolotarev 1961): x = 21.4 at 1e-10.
    yield "Anderson-Darling", _anderson_darling(both) > 21.5
    for order in range(1, 5):
        yield f"moment {order}", _off_zero(math.sqrt(2 * order + 1) * eval_legendre(order, 2 * both - 1))
    pairs = {
        "neighbouring values": (both[0::2], both[1::2]),
        "successive samples": tuple(both.reshape(-1, 2, AXES).swapaxes(0, 1)),
        "streams of two seeds": (first, second),
    }
    for name, (a, b) in pairs.items():
        yield name, _off_zero(12 * (a - 0.5) * (b - 0.5))
        yield f"magnitudes of {name}", _off_zero(48 * (np.abs(a - 0.5) - 0.25) * (np.abs(b - 0.5) - 0.25))
    yield from _tails(noise, device)


def _as_defined(noise: Fused, size: int) -> bool:
    """Whether values are those of the definition, in batches that begin and end within the parts of a stream."""
    rng, counts = np.random.default_rng(0), (20, 3, 17)
    xs = torch.from_numpy(rng.uniform(-noise.sigma, noise.sigma, (len(counts), size)).astype(np.float32))
    if isinstance(noise, Grid):
        noise.values(torch.from_numpy(rng.integers(0, STEPS + 1, xs.shape)), xs)
    parts = [Part(rng.bytes(32), x.to(noise.device), count) for x, count in zip(xs, counts, strict=True)]
    fill, drawn = noise.streams(parts), torch.full((sum(counts), size), math.nan, device=noise.device)
    for start in range(0, len(drawn), 15):
        fill(drawn[start : start + 15])
    defined = np.concatenate([noise.defined(*part) for part in parts])
    return bool((np.abs(drawn.cpu().numpy() - defined) <= noise.TOLERANCE * noise.sigma).all())


def _draw(noise: Noise, device: torch.device, number: int, samples: int) -> Values:
    """Noise in standard deviations, shape (samples, AXES)."""
    low = noise.low if isinstance(noise, Grid) else 0.0
    fill = noise.stream(hashlib.sha256(f"self-test {number}".encode()).digest(), torch.full((AXES,), low).to(device))
    out = torch.empty((samples, AXES), dtype=torch.float32, device=device)
    fill(out)
    z: Values = out.cpu().numpy()
    if isinstance(noise, Grid):
        z = np.rint((z - np.float32(low)) * np.float32(STEPS / (noise.high - low)))
        return np.asarray(z / noise.scale)
    return np.asarray(z / np.float32(noise.sigma))


def _uniform(noise: Noise, z: Values, dither: np.random.Generator) -> Values:
    """Uniform on (0, 1) under the law: its cdf, on a grid at a random point of the share of a value."""
    cdf = LAWS[noise.law].cdf
    z = np.asarray(z, np.float64)
    share: Values
    if isinstance(noise, Grid):
        low, high = cdf(z - 0.5 / noise.scale), cdf(z + 0.5 / noise.scale)
        share = np.asarray(low + dither.random(len(z)) * (high - low))
    else:
        share = np.asarray(cdf(z))
    return np.clip(share, 2.0**-52, 1 - 2.0**-52)


def _anderson_darling(u: Values) -> float:
    n, ordered = len(u), np.sort(u)
    return float(-n - (np.arange(1, 2 * n, 2) * (np.log(ordered) + np.log1p(-ordered[::-1]))).sum() / n)


def _off_zero(values: Values) -> bool:
    """Whether independent values (mean 0, variance 1, none beyond 3) average 7 deviations off: 6e-11 (Bernstein)."""
    return abs(float(values.mean())) > 7 / math.sqrt(values.size)


def _tails(noise: Noise, device: torch.device) -> Iterator[tuple[str, bool]]:
    """How many values lie far out, on either side: beyond 1e-5 of the law, and beyond all of it."""
    z = _draw(noise, device, 2, TAIL_SAMPLES)
    law = LAWS[noise.law]
    for name, far in (("tail", _quantile(law, 1e-5)), ("reach", law.reach * (1 + 1e-6))):
        if isinstance(noise, Grid):
            far = (math.floor(far * noise.scale) + 0.5) / noise.scale  # between two values
        p = _beyond(law, far)
        for side, count in (("upper", int((z > far).sum())), ("lower", int((z < -far).sum()))):
            # bdtr: P(at most so many), bdtrc: P(more)
            yield f"{side} {name}", min(bdtr(count, z.size, p), bdtrc(count - 1, z.size, p)) < LEVEL


def _quantile(law: Law, p: float) -> float:
    """Where the law's upper tail is ``p``."""
    near, far = 0.0, law.reach
    for _ in range(60):
        middle = (near + far) / 2
        near, far = (middle, far) if _beyond(law, middle) > p else (near, middle)
    return far


def _beyond(law: Law, z: float) -> float:
    """Mass of the law on one side beyond ``z`` deviations."""
    return float(law.cdf(np.array([-z]))[0])
