"""Which executor runs a network fastest here, at which batch size: found by trying them.
See docs/numerics.md 8.1.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, replace

import torch

from radii.execution.executors import COMPILED, RECORDED, START, Execution
from radii.graph import Graph
from radii.graph.difference import difference
from radii.smoothing.sampling import Classifier

log = logging.getLogger(__name__)

Build = Callable[[Execution], Classifier]
SIZES = (10, 20, 50, 100, 200, 500, 1000)  # they divide a chunk, so no batch is cut short
MEMORY = 2**29  # bytes of activations of a batch on a CPU, where running out ends the process, not the call
SHARE = 0.02  # of the time that the work takes: no more goes into doing it faster
BUILD_SECONDS = 0.2  # to get another executor ready
COMPILE_SECONDS = 60.0
PASSES = 3
GAIN = 0.95  # of the time; a smaller difference is chance
# Of 182 networks, summed in another order, float32 moves no logit by more than 4e-6 of the largest, or 2e-5 of the
# largest of its class. bfloat16 keeps 8 bits an activation; a small class may move by a quarter of itself.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1}
SHARES = {torch.float32: 0.01, torch.bfloat16: 1.0}  # see `difference`
OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)


def batch_sizes(graph: Graph, device: torch.device) -> Sequence[int]:
    """Those that a search may try: on a CPU, whose activations fit ``MEMORY``."""
    if device.type != "cpu":
        return SIZES
    most = MEMORY // (4 * graph.peak_elements())
    return [size for size in SIZES if size <= most] or [max(1, most)]


def clock_of(device: torch.device) -> Callable[[], float]:
    """Seconds of work on the device: other processes do not count on a CPU."""
    if device.type == "cpu":
        return time.process_time

    def clock() -> float:
        torch.accelerator.synchronize(device)
        return time.perf_counter()

    return clock


def fastest(
    names: Sequence[str],
    build: Build,
    draw: Callable[[int], torch.Tensor],
    *,
    sizes: Sequence[int],
    samples: int,
    clock: Callable[[], float] = time.process_time,
    dtype: torch.dtype = torch.float32,
) -> Execution:
    """The fastest of the executors ``names``, and of the ascending batch ``sizes``, for ``samples`` in all.

    The first name is the reference: what differs from its logits is out, and so is what fails, which the log tells.
    ``draw(n)`` makes n noisy copies. A size for which memory runs out is out, with all larger ones; if that is the
    smallest, the error is raised, as are all others of the reference's first pass. For so few samples that ``SHARE`` of
    their time does not pay for a comparison, that pass looks for the memory alone.
    """
    return _Search(build, draw, clock, dtype).run(names, list(sizes), samples)


class _Search:
    held: Execution
    """The fastest so far."""
    classifier: Classifier
    """The network as ``held`` runs it."""
    expected: torch.Tensor
    """The reference's logits."""
    seconds: float
    """How long a sample takes."""
    ends: float
    """The moment, by the clock, at which the search must be over."""

    def __init__(
        self, build: Build, draw: Callable[[int], torch.Tensor], clock: Callable[[], float], dtype: torch.dtype
    ) -> None:
        self.build, self.draw, self.clock, self.dtype = build, draw, clock, dtype

    def run(self, names: Sequence[str], sizes: list[int], samples: int) -> Execution:
        started = self.clock()
        at = max((i for i, size in enumerate(sizes) if size <= START), default=0)
        self.held = Execution(names[0], sizes[at])
        self.classifier = self.build(self.held)
        while True:
            try:
                batch = self.draw(sizes[at])
                before = self.clock()
                self.expected = _run(self.classifier, batch).clone()
                break
            except OUT_OF_MEMORY:
                if at == 0:
                    raise
                del sizes[at:]
                at -= 1
        reference = self.held = Execution(names[0], sizes[at])
        self.seconds = (self.clock() - before) / sizes[at]
        self.ends = started + SHARE * samples * self.seconds
        try:
            if self.is_time_for(reference):  # the first pass also made ready what all use: a GPU takes seconds for that
                before = self.clock()
                _run(self.classifier, batch)
                self.seconds = min(self.seconds, (self.clock() - before) / len(batch))
                self.ends = before + SHARE * samples * self.seconds
            self.compare(names[1:], sizes)
        except RuntimeError as error:  # at the clock: this process has lost the device; one that comes after it has not
            log.error("after the last trial nothing runs here any more: %s", first_line(error))
            return reference
        return self.held

    def compare(self, names: Sequence[str], sizes: Sequence[int]) -> None:
        """Executors at one size, then the sizes of the fastest, up or down; last, at that, what takes long to build."""
        for name in names:
            if _build_seconds(name) <= BUILD_SECONDS:
                self.challenge(replace(self.held, executor=name))
        for step in (1, -1):
            at = first = sizes.index(self.held.batch_size)
            while 0 <= at + step < len(sizes) and self.challenge(replace(self.held, batch_size=sizes[at + step])):
                at += step
            if at != first:
                break
        for name in names:
            if _build_seconds(name) > BUILD_SECONDS:
                self.challenge(replace(self.held, executor=name))

    def challenge(self, rival: Execution) -> bool:
        """Whether the rival is faster, and held from now on. There must be time to find out."""
        if not self.is_time_for(rival):
            return False
        try:
            classifier = self.build(rival) if self.is_new(rival) else self.classifier
            mine, its = self.race((self.classifier, self.held.batch_size), (classifier, rival.batch_size))
        except OUT_OF_MEMORY:
            return False
        except Exception as error:  # of a capture, a compiler, a kernel: it costs the rival alone
            log.warning("%s at batch size %d is out: %s", rival.executor, rival.batch_size, first_line(error))
            return False
        log.info("%s at batch size %d: %.2f times the time of the best so far", *astuple(rival), its / mine)
        if its >= GAIN * mine:
            return False
        self.held, self.classifier, self.seconds = rival, classifier, its
        return True

    def is_new(self, rival: Execution) -> bool:
        return rival.executor != self.held.executor or rival.executor in RECORDED

    def is_time_for(self, rival: Execution) -> bool:
        passes = PASSES * self.held.batch_size + (PASSES + 1) * rival.batch_size
        building = _build_seconds(rival.executor) if self.is_new(rival) else 0.0
        return self.clock() + passes * self.seconds + building <= self.ends

    def race(self, *runners: tuple[Classifier, int]) -> list[float]:
        """The least seconds a sample of each: in turns, since a machine has better and worse moments.

        Raises ``ValueError`` where the last one's logits are not those expected.
        """
        batches = [(classifier, self.draw(size)) for classifier, size in runners]
        if not agree(_run(*batches[-1]), self.expected, self.dtype):
            raise ValueError("its logits are not those of the reference")
        times: list[list[float]] = [[] for _ in batches]
        for _ in range(PASSES):
            for passes, (classifier, batch) in zip(times, batches, strict=True):
                before = self.clock()
                _run(classifier, batch)
                passes.append((self.clock() - before) / len(batch))
        return list(map(min, times))


def _build_seconds(executor: str) -> float:
    return COMPILE_SECONDS if executor == COMPILED else BUILD_SECONDS


def first_line(error: Exception) -> str:
    """The first line of an error, for a log: what follows is about CUDA's settings, or a compiler's whole output."""
    return f"{type(error).__name__}: {error}".partition("\n")[0][:300]


def _run(classifier: Classifier, batch: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():  # no further: what is built in it has no gradients, ever
        return classifier(batch)


def agree(found: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether logits are the same but for the rounding of ``dtype``, as far as both have rows."""
    rows = min(len(found), len(expected))
    return difference(found[:rows], expected[:rows], share=SHARES[dtype]) <= TOLERANCE[dtype]
