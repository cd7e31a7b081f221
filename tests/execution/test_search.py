"""The fastest is found in bounded time; what is wrong, too large, or fails is out, and costs nothing but itself."""

from functools import partial
from itertools import count

import pytest
import torch

from radii.execution.executors import COMPILED, GRAPH, RECORDED, START, Execution
from radii.execution.search import COMPILE_SECONDS, MEMORY, SHARE, SIZES, agree, batch_sizes, fastest
from radii.smoothing.sampling import Classifier
from tests.execution.test_executors import CPU, graph_of, linear


class Bench:
    """Executors with a clock of their own: each batch takes a fixed time, and a time for each sample."""

    def __init__(self, **costs: tuple[float, float]) -> None:
        self.costs = costs
        self.now = 0.0
        self.largest = 10**9
        self.wrong: set[str] = set()
        self.breaks: dict[str, int] = {}
        """At which call: 0 is the building."""
        self.loses_device = self.device_lost = False
        """What breaks takes the device with it: then nothing goes on, the clock included."""
        self.runs: list[tuple[str, int]] = []
        self.built: list[Execution] = []
        self.first = 0.0
        """Seconds that the first batch of all takes besides."""
        self.answer = torch.empty(SIZES[-1], 5)
        """Where all leave theirs."""

    def build(self, execution: Execution) -> Classifier:
        name, calls = execution.executor, count(1)
        self.built.append(execution)
        self.break_at(name, 0)
        self.now += COMPILE_SECONDS * (name == COMPILED)

        def classifier(x: torch.Tensor) -> torch.Tensor:
            self.runs.append((name, len(x)))
            if len(x) > self.largest:
                raise torch.OutOfMemoryError
            self.break_at(name, next(calls))
            assert name not in RECORDED or len(x) <= execution.batch_size
            rows = execution.batch_size if name in RECORDED else len(x)
            batch, sample = self.costs[name]
            self.now += batch + sample * rows + self.first * (len(self.runs) == 1)
            return torch.mul(x, 1 + 1e-6, out=self.answer[: len(x)]).add_(1e-3 * (name in self.wrong))

        return classifier

    def break_at(self, name: str, call: int) -> None:
        if self.breaks.get(name) == call:
            self.device_lost |= self.loses_device
            raise RuntimeError(f"CUDA error: {name} at {call}\nCompile with TORCH_USE_CUDA_DSA")

    def clock(self) -> float:
        if self.device_lost:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nand more")
        return self.now

    def search(self, *, samples: int = 10**9, sizes: tuple[int, ...] = SIZES) -> Execution:
        def draw(n: int) -> torch.Tensor:
            return torch.randn(SIZES[-1], 5, generator=torch.Generator().manual_seed(0))[:n]

        return fastest(list(self.costs), self.build, draw, sizes=sizes, samples=samples, clock=self.clock)


def test_the_fastest_at_its_best_size_is_chosen() -> None:
    assert Bench(a=(0.0, 3e-4), b=(0.01, 1e-4), c=(0.0, 2.9e-4)).search() == Execution("b", 1000)


def test_what_computes_something_else_is_out() -> None:
    """Though it leaves its logits where those of the reference were."""
    bench = Bench(a=(0.0, 1e-3), b=(0.0, 1e-5))
    bench.wrong = {"b"}
    assert bench.search().executor == "a"


def test_logits_agree_on_the_scale_of_their_class_but_for_what_cancels() -> None:
    expected = torch.tensor([[10.0, 0.02, 1e-7], [-5.0, 0.01, 0.0]])
    for scale, alike in ((5e-5, True), (2e-3, False)):
        assert agree(expected * (1 + scale), expected, torch.float32) is alike
        assert agree(expected + torch.tensor([0.0, 0.1 * scale, 0.0]), expected, torch.float32) is alike
    assert agree(expected + torch.tensor([0.0, 0.0, 9e-6]), expected, torch.float32)
    for scale, alike in ((0.09, True), (0.11, False)):
        assert agree(expected + torch.tensor([0.0, 10 * scale, 0.0]), expected, torch.bfloat16) is alike
    assert agree(expected[:1], expected, torch.float32) and agree(expected, expected[:1], torch.float32)
    assert not agree(expected[:, :2], expected, torch.float32)


@pytest.mark.parametrize("call", range(9))
def test_what_fails_is_out_with_one_line_in_the_log(call: int, caplog: pytest.LogCaptureFixture) -> None:
    """As it is built, in the comparison, in the passes that are timed; and once it is the fastest, where it stays."""
    bench = Bench(a=(0.0, 3e-4), b=(1e-2, 5e-5), c=(1e-2, 1e-4))
    bench.breaks = {"b": call}
    found = bench.search()
    [line] = caplog.messages
    assert line.endswith(f" is out: RuntimeError: CUDA error: b at {call}")
    if call <= 4:
        assert found == Execution("c", 1000) and line.startswith("b at batch size 100")
    else:
        assert found.executor == "b"


def test_a_device_that_is_lost_leaves_the_reference(caplog: pytest.LogCaptureFixture) -> None:
    """What runs next fails in this process; the next one is told to use the reference, and tries nothing else."""
    bench = Bench(a=(0.0, 3e-4), b=(0.0, 1e-4), c=(0.0, 1e-5))
    bench.breaks, bench.loses_device = {"c": 2}, True
    assert bench.search() == Execution("a", START)
    assert len(caplog.messages) == 2 and "nothing runs here any more: AcceleratorError" in caplog.messages[1]
    bench = Bench(a=(0.0, 1e-4))
    bench.breaks, bench.loses_device = {"a": 1}, True
    with pytest.raises(RuntimeError, match="a at 1"):
        bench.search()


def test_what_is_made_for_one_batch_size_is_made_anew_for_another() -> None:
    bench = Bench(a=(2e-2, 1e-4), **{GRAPH: (5e-3, 1e-4)})
    assert bench.search() == Execution(GRAPH, 500)
    assert bench.built == [Execution("a", START), *(Execution(GRAPH, size) for size in (100, 200, 500, 1000))]


def test_what_takes_long_to_compile_comes_last_and_has_to_pay() -> None:
    """Not for work that takes less than some 50 times as long."""
    costs = {"a": (1e-2, 1e-3), COMPILED: (1e-2, 1e-4), GRAPH: (1e-3, 1e-3)}
    for samples, executor in ((4 * 10**7, COMPILED), (10**6, GRAPH)):
        bench = Bench(**costs)
        found = bench.search(samples=samples)
        assert found.executor == executor
        assert bench.now <= 1e-3 * SHARE * samples * 1.2
        compiled = [execution for execution in bench.built if execution.executor == COMPILED]
        assert compiled == ([found] if executor == COMPILED else [])


def test_a_simulated_lack_of_memory_makes_smaller_batches() -> None:
    """Below the size that the search starts at, above it, and for every size."""
    bench = Bench(a=(0.01, 1e-4), b=(0.0, 1e-2))
    for bench.largest, size in ((10, 10), (49, 20), (100, 100), (499, 200)):
        assert bench.search() == Execution("a", size)
    bench.largest = 9
    with pytest.raises(torch.OutOfMemoryError):
        bench.search()


def test_a_search_takes_a_bounded_share_of_the_work() -> None:
    for cost in (1e-6, 1e-4, 1e-2):
        for samples in (1100, 10**5, 10**7):
            bench = Bench(a=(0.0, cost), b=(0.0, cost), c=(0.0, cost))
            assert bench.search(samples=samples) == Execution("a", START)
            assert bench.now <= cost * (START + SHARE * samples)
    bench = Bench(a=(0.0, 1e-4), b=(0.0, 5e-5), **{COMPILED: (0.0, 1e-5)})
    bench.first = 5.0  # as long as 50,000 samples; it tells nothing about those to come
    assert bench.search(samples=10**6) == Execution("b", START)
    assert bench.now <= bench.first + 1e-4 * (START + SHARE * 10**6)
    bench = Bench(a=(0.0, 1e-4), b=(0.0, 1e-5))
    assert bench.search(samples=1100) == Execution("a", START) and bench.runs == [("a", START)]


def test_a_given_batch_size_is_kept() -> None:
    bench = Bench(a=(0.01, 1e-4), b=(0.0, 1e-4))
    assert bench.search(sizes=(7,)) == Execution("b", 7)
    assert {size for _, size in bench.runs} == {7}


def test_batches_fit_the_memory_of_a_processor() -> None:
    small, large = (graph_of(partial(linear, n * n), (1, n, n)) for n in (16, 1200))
    assert tuple(batch_sizes(small, CPU)) == SIZES
    size, each = batch_sizes(large, CPU)[-1], 4 * large.peak_elements()
    assert size < 100 and MEMORY / 3 < size * each <= MEMORY
