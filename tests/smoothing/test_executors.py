"""Executors vote alike; the fastest is found in bounded time, and what is wrong or too large is out."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from radii.graph import Graph, read_onnx, to_module
from radii.smoothing import GridGaussian, count_chunk
from radii.smoothing.executors import (
    MEMORY,
    SHARE,
    SIZES,
    START,
    Execution,
    batch_sizes,
    build,
    executors,
    fastest,
)
from radii.smoothing.sampling import Classifier
from tests.graph.export import export
from tests.graph.plain import BasicBlock, ResNet, shaken

CPU = torch.device("cpu")


def graph_of(network: Callable[[], nn.Module], shape: tuple[int, ...]) -> Graph:
    torch.manual_seed(0)
    return read_onnx(export(shaken(network()), shape, dynamo=False, opset=17, dynamic=True))


def linear(inputs: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 4))


def convolutional() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 16, 10))


def residual() -> nn.Module:
    return ResNet(BasicBlock, [1, 1, 1, 1], width=8, cifar=True)


@pytest.mark.parametrize("network", [convolutional, residual, partial(linear, 768)], ids=["conv", "residual", "linear"])
def test_executors_count_the_same_votes(network: Callable[[], nn.Module]) -> None:
    """Of 500 samples none lies so near a tie; and an executor's votes at one batch size are the same each time."""
    graph = graph_of(network, (3, 16, 16))
    x = torch.randint(0, 256, graph.input_shape, generator=torch.Generator().manual_seed(1)) / 255
    batch = torch.rand(64, *graph.input_shape, generator=torch.Generator().manual_seed(2))
    expected = to_module(graph, dtype=torch.float64)(batch.double())
    votes = set()
    for name in (names := executors(graph, CPU)):
        classifier = build(name, graph, CPU)
        assert (classifier(batch) - expected).abs().max() < 1e-5 * expected.abs().max()
        for size in (50, 500, 500):
            counts = count_chunk(
                classifier,
                x,
                num_classes=graph.num_classes,
                noise=GridGaussian(0.5),
                key=bytes(32),
                stage="estimate",
                number=0,
                size=500,
                batch_size=size,
            )
            votes.add(tuple(counts))
    assert len(names) == 3 and len(votes) == 1


@pytest.mark.parametrize("network", [convolutional, residual, partial(linear, 768)], ids=["conv", "residual", "linear"])
def test_executors_in_bfloat16(network: Callable[[], nn.Module]) -> None:
    """They run what torch makes of the original module in that type, up to the order of its sums."""
    torch.manual_seed(0)
    original = shaken(network()).eval()
    graph = read_onnx(export(original, (3, 16, 16), dynamo=False, opset=17, dynamic=True))
    batch = torch.rand(64, *graph.input_shape, generator=torch.Generator().manual_seed(2))
    exact = original(batch)
    expected = original.to(torch.bfloat16)(batch.bfloat16()).float()
    size = exact.abs().max()
    for name in (names := executors(graph, CPU, torch.bfloat16)):
        found = build(name, graph, CPU, torch.bfloat16)(batch)
        assert found.dtype == torch.float32 and torch.equal(found, found.bfloat16().float())
        assert (found - expected).abs().max() < 0.03 * size
        assert (found - exact).abs().max() > 1e-4 * size
    assert names == ["torch", "torch, channels last"]


class Bench:
    """Executors with a clock of their own: each batch takes a fixed time, and a time for each sample."""

    def __init__(self, **costs: tuple[float, float]) -> None:
        self.costs = costs
        self.now = 0.0
        self.largest = 10**9
        self.wrong: set[str] = set()
        self.runs: list[tuple[str, int]] = []

    def build(self, name: str) -> Classifier:
        def classifier(x: torch.Tensor) -> torch.Tensor:
            self.runs.append((name, len(x)))
            if len(x) > self.largest:
                raise torch.OutOfMemoryError
            batch, sample = self.costs[name]
            self.now += batch + sample * len(x)
            return x + 1e-3 if name in self.wrong else x * (1 + 1e-6)

        return classifier

    def search(self, *, samples: int = 10**9, sizes: tuple[int, ...] = SIZES) -> Execution:
        def draw(n: int) -> torch.Tensor:
            return torch.randn(SIZES[-1], 5, generator=torch.Generator().manual_seed(0))[:n]

        return fastest(list(self.costs), self.build, draw, sizes=sizes, samples=samples, clock=lambda: self.now)


def test_the_fastest_at_its_best_size_is_chosen() -> None:
    assert Bench(a=(0.0, 3e-4), b=(0.01, 1e-4), c=(0.0, 2.9e-4)).search() == Execution("b", 1000)


def test_what_computes_something_else_is_out() -> None:
    bench = Bench(a=(0.0, 1e-3), b=(0.0, 1e-5))
    bench.wrong = {"b"}
    assert bench.search().executor == "a"


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
