"""Noise that a GPU draws and adds in one pass, a whole batch at once, of however many inputs it is (``kernels``).

Every value's bits are defined (``philox``). On the grid integers and tables made on the CPU do the rest, so all devices
give the very same values; in floating point they are those of the formulas but for a few of their last bits.
Formulas: docs/numerics.md 6.4.
"""

import functools
import hashlib
import logging
import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from radii.laws import Law
from radii.smoothing.noise.base import Fill, Part
from radii.smoothing.noise.floating import Floating
from radii.smoothing.noise.grid import STEPS, Grid, Values
from radii.smoothing.noise.philox import Words, words

log = logging.getLogger(__name__)

CELL_BITS = 14  # a guide of 64 KiB, which fits a processor's first cache, and settles most values
ENDLESS = 2**32  # samples of a stream: their numbers have 32 bits


class Fused(ABC):
    """A source on one device, and what its values are by definition."""

    TOLERANCE: ClassVar[float]
    """How far a value may be from its definition, in standard deviations."""
    BLOCK: ClassVar[int | None] = None
    """Calls of Philox a program, if not what suits a GPU."""
    device: torch.device
    sigma: float

    @abstractmethod
    def defined(self, seed: bytes, x: torch.Tensor, samples: int) -> Values:
        """The first ``samples`` of a stream, (samples, *x.shape), computed on the CPU by numpy."""

    @abstractmethod
    def _inputs(self, x: torch.Tensor) -> torch.Tensor:
        """What the kernel takes for inputs (inputs, values). Raises ValueError for those that have no such noise."""

    @abstractmethod
    def _launch(self, grid: tuple[int], *arguments: Any, **options: Any) -> None:
        """Run the kernel with the arguments that all have in common, and its own."""

    def stream(self, seed: bytes, x: torch.Tensor) -> Fill:
        return self.streams([Part(seed, x, ENDLESS)])

    def streams(self, parts: Sequence[Part]) -> Fill:
        """One launch a fill; it does not wait for the device. Raises ValueError for inputs that have no such noise."""
        inputs = {id(part.x): part.x for part in parts}
        places = {key: place for place, key in enumerate(inputs)}
        ends = np.cumsum([0, *(part.size for part in parts)]).tolist()
        begins, total, done = ends[:-1], ends[-1], 0
        if total == 0:
            return lambda out: None
        x = self._inputs(torch.stack([x.to(self.device) for x in inputs.values()]).reshape(len(inputs), -1))
        records = np.empty((len(parts), 4), np.int64)
        records[:, 0] = begins
        records[:, 1] = [places[id(part.x)] for part in parts]
        records[:, 2:] = [np.frombuffer(part.seed[:16], "<i8") for part in parts]
        record, size = self._there(records), x.shape[1]
        block = self.BLOCK or _kernels().BLOCK
        blocks = -(-size // (2 * block))

        def fill(out: torch.Tensor) -> None:
            nonlocal done
            rows = min(len(out), total - done)
            if rows < len(out) and total == ENDLESS:
                raise RuntimeError(f"a stream has {ENDLESS} samples, of which all are drawn")
            if rows <= 0:
                return
            if not (out.is_contiguous() and out.dtype == torch.float32 and out.device == x.device):
                raise ValueError(f"out: must be contiguous float32 on {x.device}, not {out.dtype} on {out.device}")
            least, most = (bisect_right(begins, row) - 1 for row in (done, done + rows - 1))
            with torch.cuda.device(out.get_device()):
                self._launch((rows * blocks,), out, x, record, done, size, blocks, least, most, BLOCK=block)
            done += rows

        return fill

    def _there(self, array: npt.NDArray[Any]) -> torch.Tensor:
        """On the device, without waiting for it."""
        here = torch.from_numpy(array)
        return here.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else here


class FusedGrid(Fused, Grid):
    """A grid's noise by table over Philox: 64 bits a value, compared with the exact ends of the values' shares."""

    TOLERANCE = 0.0

    def __init__(self, law: Law, sigma: float, low: float = 0.0, high: float = 1.0, *, device: torch.device) -> None:
        super().__init__(law, sigma, low, high)
        self.device = device

    @property
    def name(self) -> str:
        return f"grid-{self.law}/{STEPS}/philox-table/{_digest(self.of)}"

    @functools.cached_property
    def table(self) -> "Shares":
        return Shares(self.scale, self.of)

    def defined(self, seed: bytes, x: torch.Tensor, samples: int) -> Values:
        shares = self.table.of(words(seed, np.arange(samples), x.numel()))
        steps = self.centre(x.cpu()).numpy().reshape(-1)
        return np.asarray(self._sums()[shares + steps]).reshape(samples, *x.shape)

    def _sums(self) -> npt.NDArray[np.float32]:
        """What the sum of a share and an input's steps is as a value."""
        steps = torch.arange(-self.table.most, self.table.most + STEPS + 1, dtype=torch.int32)
        values = torch.empty(len(steps))
        self.values(steps, values)
        return values.numpy()

    @functools.cached_property
    def _tables(self) -> list[torch.Tensor]:
        return [self._there(array) for array in (self.table.guide, self.table.ends.view(np.int64), self._sums())]

    def _inputs(self, x: torch.Tensor) -> torch.Tensor:
        return self.centre(x)

    def _launch(self, grid: tuple[int], *arguments: Any, **options: Any) -> None:
        _kernels().add_on_grid[grid](*arguments, *self._tables, CELLS=CELL_BITS, **options, enable_fp_fusion=False)


class Shares:
    """Which of 2^64 words are which value of a law: v has those from ``ends[v + most - 1]`` to ``ends[v + most]``."""

    def __init__(self, scale: float, law: Law) -> None:
        self.most = math.ceil(law.reach * scale) + 1
        shares = law.cdf((np.arange(-self.most, self.most) + 0.5) / scale)
        whole = np.maximum.accumulate(shares) * 2.0**64  # exact; then rounded down, and one that is all to 2^64 - 1
        self.ends: Words = np.where(whole < 2.0**64, whole, 0.0).astype(np.uint64) - (whole >= 2.0**64)
        cells = np.arange(2**CELL_BITS, dtype=np.uint64) << np.uint64(64 - CELL_BITS)
        least = self.of(cells)
        more = self.of(cells + np.uint64(2 ** (64 - CELL_BITS) - 1)) - least
        self.guide = (least | more << 16).astype(np.uint32).view(np.int32)

    def of(self, word: Words) -> npt.NDArray[np.int64]:
        """Which value, counted from the smallest, has a word."""
        return np.searchsorted(self.ends, word, side="right")


class FusedFloating(Fused):
    """The law of a source on the CPU, by the same formulas in float32."""

    TOLERANCE = 1e-5

    def __init__(self, here: Floating, device: torch.device) -> None:
        """``here``: of a law that has a kernel."""
        self.here, self.sigma, self.device = here, here.sigma, device

    @property
    def law(self) -> str:
        return self.here.law

    @property
    def name(self) -> str:
        return f"{self.law}/philox-{self.here.of.fused}-f32/{_drawn(self.here.of, self.device)}"

    def tail_mass(self, dimension: int) -> float:
        return self.here.tail_mass(dimension)

    def defined(self, seed: bytes, x: torch.Tensor, samples: int) -> Values:
        word = words(seed, np.arange(samples), 2 * -(-x.numel() // 2))
        noise = self.here.stretch * self.here.of.of_words(word)[:, : x.numel()]
        return np.asarray(x.cpu().double().numpy() + noise.reshape(samples, *x.shape))

    def _inputs(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def _launch(self, grid: tuple[int], *arguments: Any, **options: Any) -> None:
        # without fusion: Triton's default changes with its version
        _kernels().add[grid](*arguments, self.here.stretch, LAW=self.law, **options, enable_fp_fusion=False)


_usable: dict[tuple[type[Fused], str, torch.device], bool] = {}


def usable(noise: FusedGrid | FusedFloating) -> bool:
    """Whether the device draws it. Where it does not, the log says once why, and what to do about it."""
    key = type(noise), noise.law, noise.device
    if key not in _usable:
        _usable[key] = _drawing(noise)
    return _usable[key]


def _drawing(noise: FusedGrid | FusedFloating) -> bool:
    try:
        out = torch.empty((2, 3), device=noise.device)
        noise.stream(bytes(32), torch.full((3,), noise.low if isinstance(noise, Grid) else 0.0))(out)
        out.cpu()
    except Exception as error:  # Triton missing, no compiler, a driver that is too old: there are many ways
        log.warning(
            "%s noise for %s is drawn on the CPU, which is right but slow: %s: %s. Drawing it there takes the Triton "
            "that torch for CUDA brings, a C compiler (gcc, the C library's headers) and a writable TRITON_CACHE_DIR.",
            noise.law,
            noise.device,
            type(error).__name__,
            error,
        )
        return False
    return True


def _kernels() -> Any:
    """The kernels. They need Triton, which comes with builds of torch for CUDA."""
    from radii.smoothing.noise import kernels

    return kernels


@functools.cache
def _digest(law: Law) -> str:
    """A digest of values as they are defined, which every device draws."""
    return _of(FusedGrid(law, 0.25, device=torch.device("cpu")).defined(_SEED, torch.zeros(2**14), 4))


@functools.cache
def _drawn(law: Law, device: torch.device) -> str:
    """A digest of values as this device draws them."""
    values = torch.empty((4, 2**14), device=device)
    FusedFloating(Floating(law, 1.0), device).stream(_SEED, torch.zeros(2**14))(values)
    return _of(values.cpu().numpy())


_SEED = bytes(range(32))


def _of(values: Values) -> str:
    return hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()[:16]
