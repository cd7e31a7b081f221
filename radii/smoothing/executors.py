"""Programs that run a network, and which of them runs it fastest here, at which batch size.

All compute the same function, in float32 or, where that is asked, in bfloat16; they sum in other orders, so votes may
differ at near-ties. A certificate names the one that voted.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from radii.graph import Graph, to_module
from radii.smoothing.sampling import Classifier

TORCH, CHANNELS_LAST, ONNXRUNTIME = "torch", "torch, channels last", "onnxruntime"
START = 100
SIZES = (10, 20, 50, 100, 200, 500, 1000)  # they divide a chunk, so no batch is cut short
MEMORY = 2**29  # bytes of activations of a batch on a CPU, where running out ends the process, not the call
SHARE = 0.02  # of the time that the work takes: no more goes into doing it faster
BUILD_SECONDS = 0.2  # to get another executor ready
PASSES = 3
GAIN = 0.95  # of the time; a smaller difference is chance
# Of the largest logit: in another order of summation float32 stays below 1e-5; bfloat16 keeps 8 bits an activation.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1}
OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)


@dataclass(frozen=True)
class Execution:
    """How the samples of a certificate run."""

    executor: str
    batch_size: int


def executors(graph: Graph, device: torch.device, dtype: torch.dtype = torch.float32) -> Sequence[str]:
    """Those that are worth a trial, the reference first."""
    names = [TORCH]
    if len(graph.input_shape) == 3:
        names.append(CHANNELS_LAST)
    if device.type == "cpu" and dtype == torch.float32:
        names.append(ONNXRUNTIME)
    return names


def build(executor: str, graph: Graph, device: torch.device, dtype: torch.dtype = torch.float32) -> Classifier:
    """The graph in ``dtype`` on the device, float32 in and out. By torch it has gradients.

    Raises ``ValueError`` where this executor can't run it.
    """
    if executor == ONNXRUNTIME:
        return _OnnxRuntime(graph)
    module = to_module(graph, dtype=dtype).to(device)
    layout = torch.preserve_format
    if executor == CHANNELS_LAST:
        layout = torch.channels_last
        for buffer in module.buffers():
            if buffer.ndim == 4:
                buffer.data = buffer.contiguous(memory_format=layout)
    elif dtype == torch.float32:
        return module
    return lambda x: module(x.to(dtype, memory_format=layout)).float()


class _OnnxRuntime:
    """On one CPU thread."""

    def __init__(self, graph: Graph) -> None:
        import onnxruntime

        from radii.graph.writer import write_onnx  # onnx, which torch alone does not need

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        data = write_onnx(graph)
        try:
            self._session = onnxruntime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"], disabled_optimizers=["Pad_Fusion"]
            )
        except Exception as error:  # onnxruntime's exceptions have no base of their own
            raise ValueError(f"onnxruntime can't run it: {error}") from None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        (logits,) = self._session.run(["y"], {"x": x.numpy()})
        return torch.from_numpy(logits)


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
    build: Callable[[str], Classifier],
    draw: Callable[[int], torch.Tensor],
    *,
    sizes: Sequence[int],
    samples: int,
    clock: Callable[[], float] = time.process_time,
    dtype: torch.dtype = torch.float32,
) -> Execution:
    """The fastest of the executors ``names``, and of the ascending batch ``sizes``, for ``samples`` in all.

    The first name is the reference: what differs from its logits is out. ``draw(n)`` makes n noisy copies. A size for
    which memory runs out is out, with all larger ones; if that is the smallest, the error is raised. For so few samples
    that ``SHARE`` of their time does not pay for a comparison, one pass of the reference looks for the memory alone.
    """
    return _Search(build, draw, clock, TOLERANCE[dtype]).run(names, list(sizes), samples)


class _Search:
    def __init__(
        self,
        build: Callable[[str], Classifier],
        draw: Callable[[int], torch.Tensor],
        clock: Callable[[], float],
        tolerance: float,
    ) -> None:
        self.build, self.draw, self.clock, self.tolerance = build, draw, clock, tolerance

    def run(self, names: Sequence[str], sizes: list[int], samples: int) -> Execution:
        started = self.clock()
        at = max((i for i, size in enumerate(sizes) if size <= START), default=0)
        classifier, name = self.build(names[0]), names[0]
        while True:
            try:
                before = self.clock()
                expected = _run(classifier, self.draw(sizes[at])).clone()
                break
            except OUT_OF_MEMORY:
                if at == 0:
                    raise
                del sizes[at:]
                at -= 1
        first = self.clock() - before
        ends = started + SHARE * samples * first / sizes[at]
        if len(names) == len(sizes) == 1 or self.clock() + BUILD_SECONDS > ends:
            return Execution(name, sizes[at])
        seconds = first / sizes[at]  # of the fastest so far, a sample
        for other in names[1:]:
            if self.clock() + BUILD_SECONDS + (2 * PASSES + 1) * sizes[at] * seconds > ends:
                break
            try:
                rival = self.build(other)
            except ValueError:
                continue
            if (won := self.race((classifier, sizes[at]), (rival, sizes[at]), expected)) is not None:
                classifier, name, seconds = rival, other, won
        for step in (1, -1):
            before_step = at
            while 0 <= (to := at + step) < len(sizes):
                if self.clock() + (PASSES * sizes[at] + (PASSES + 1) * sizes[to]) * seconds > ends:
                    break
                won = self.race((classifier, sizes[at]), (classifier, sizes[to]), expected)
                if won is None:
                    break
                at, seconds = to, won
            if at != before_step:
                break
        return Execution(name, sizes[at])

    def race(self, held: tuple[Classifier, int], rival: tuple[Classifier, int], expected: torch.Tensor) -> float | None:
        """The rival's seconds a sample, where it is faster: in turns, since a machine has better and worse moments.

        None where it is not, where memory runs out, and where its logits are not those expected.
        """
        times: list[list[float]] = [[], []]
        try:
            runners = [(classifier, self.draw(size)) for classifier, size in (held, rival)]
            if not agree(_run(*runners[1]), expected, self.tolerance):
                return None
            for _ in range(PASSES):
                for passes, (classifier, batch) in zip(times, runners, strict=True):
                    before = self.clock()
                    _run(classifier, batch)
                    passes.append((self.clock() - before) / len(batch))
        except OUT_OF_MEMORY:
            return None
        mine, its = map(min, times)
        return its if its < GAIN * mine else None


def _run(classifier: Classifier, batch: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():  # no further: what is built in it has no gradients, ever
        return classifier(batch)


def agree(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> bool:
    """Whether logits are the same but for rounding (a share of the largest), as far as both have rows."""
    rows = min(len(found), len(expected))
    found, expected = found[:rows], expected[:rows]
    finite = expected.isfinite()
    if found.shape != expected.shape or not torch.equal(found.isfinite(), finite):
        return False
    gap, scale = (found - expected)[finite].abs(), expected[finite].abs()
    return not finite.any() or bool(gap.max() <= tolerance * scale.max())
