"""Executors vote alike, also those that record their work, of which all but the CUDA graph itself is tried here."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from radii.execution.cuda_graphs import CudaGraph, compiled, cuda_graph
from radii.execution.executors import CHANNELS_LAST, CHANNELS_LAST_GRAPH, GRAPH, TORCH, build, executors
from radii.graph import Graph, read_onnx, to_module
from radii.smoothing import count_chunk, grid_of
from radii.smoothing.sampling import Classifier, logits_chunk
from tests.graph.export import export
from tests.graph.plain import BasicBlock, ResNet, shaken
from tests.smoothing import cuda

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
    batch = torch.rand(64, *graph.input_shape, generator=torch.Generator().manual_seed(2))
    expected = to_module(graph, dtype=torch.float64)(batch.double())
    votes = set()
    for name in (names := executors(graph, CPU)):
        classifier = build(name, graph, CPU)
        assert (classifier(batch) - expected).abs().max() < 1e-5 * expected.abs().max()
        for size in (50, 500, 500):
            counts = sampled(count_chunk, classifier, graph, size=500, batch_size=size)
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


def on_the_cpu(work: Callable[[], torch.Tensor], _: torch.device) -> tuple[Callable[[], None], torch.Tensor]:
    """Recorded by what records nothing: it works again, and writes to the same place."""
    outcome = work().clone()

    def again() -> None:
        outcome.copy_(work())

    return again, outcome


@pytest.mark.parametrize("size", [100, 64])
def test_recorded_work_counts_what_the_classifier_does(size: int) -> None:
    """Also where the last batch of a chunk is shorter; and each of its logits is read before the next overwrite it."""
    graph = graph_of(convolutional, (3, 16, 16))
    classifier = build(TORCH, graph, CPU)
    recorded = CudaGraph(classifier, torch.zeros(size, *graph.input_shape), on_the_cpu)
    with torch.inference_mode():  # a whole batch each: another size may be summed in another order
        rows = torch.rand(size, *graph.input_shape)
        assert torch.equal(recorded(rows), classifier(rows))
        place = recorded(rows[:7])
        assert place.data_ptr() == recorded(rows[7:14]).data_ptr() and place.shape == (7, 10)
        assert torch.equal(place, classifier(torch.cat([rows[7:14], rows[7:]]))[:7])
    with pytest.raises(ValueError, match="recorded were batches"):
        recorded(torch.rand(size + 1, *graph.input_shape))
    for of_chunk in (count_chunk, logits_chunk):
        found, expected = (sampled(of_chunk, way, graph, size=250, batch_size=size) for way in (recorded, classifier))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def sampled(of_chunk: Any, classifier: Classifier, graph: Graph, **sizes: int) -> Any:
    """Of a chunk under noise on the grid, around one input."""
    x = torch.randint(0, 256, graph.input_shape, generator=torch.Generator().manual_seed(1)) / 255
    call = {"num_classes": graph.num_classes, "noise": grid_of("gaussian", 0.5), "key": bytes(32)}
    return of_chunk(classifier, x, **call, stage="estimate", number=0, **sizes)


@pytest.fixture
def cpu_as_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorder in the place of CUDA graphs."""
    monkeypatch.setattr(cuda, "GPU", CPU)
    monkeypatch.setattr(cuda, "executors", lambda *_: [TORCH, CHANNELS_LAST, GRAPH, CHANNELS_LAST_GRAPH])
    monkeypatch.setattr("radii.execution.executors.cuda_graph", on_the_cpu)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.usefixtures("cpu_as_gpu")
def test_the_comparison_on_a_gpu_finds_what_is_wrong(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    """Tried on the CPU."""
    graph = graph_of(convolutional, (3, 16, 16))
    assert cuda.compared(graph, dtype, compiled=False) == []

    def stale(work: Callable[[], torch.Tensor], device: torch.device) -> tuple[Callable[[], None], torch.Tensor]:
        return lambda: None, on_the_cpu(work, device)[1]

    monkeypatch.setattr("radii.execution.executors.cuda_graph", stale)
    wrong = cuda.compared(graph, dtype, compiled=False)
    assert {f"{name}: not what it recorded" for name in (GRAPH, CHANNELS_LAST_GRAPH)} <= set(wrong)
    assert {f"{name}: other logits" for name in (GRAPH, CHANNELS_LAST_GRAPH)} <= set(wrong)
    assert any("other votes" in line for line in wrong) == (dtype == torch.float32)


# Of what Inductor imports, and of what it would rather compute in.
COMPILES = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore:TensorFloat32:UserWarning")


@COMPILES
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_torch_can_compile_a_graph_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By Inductor for a CPU, which is not offered; what it is given is the same on a GPU. Two networks: here a function
    is compiled once, in a worker eight times, and no more, but each of these is one of its own."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch._inductor.config, "compile_threads", 1)
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 1)
    for inputs in (12, 27):
        classifier = build(TORCH, graph_of(partial(linear, inputs), (3, inputs // 3)), CPU)
        batch = torch.rand(8, 3, inputs // 3)
        way = CudaGraph(compiled(classifier), torch.zeros_like(batch), on_the_cpu)
        torch.testing.assert_close(way(batch), classifier(batch))


@COMPILES
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("network", [convolutional, residual, partial(linear, 768)], ids=["conv", "residual", "linear"])
def test_executors_on_a_gpu(network: Callable[[], nn.Module], dtype: torch.dtype) -> None:
    cuda.as_a_worker()
    assert cuda.compared(graph_of(network, (3, 16, 16)), dtype, compiled=True) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_graph_that_can_not_be_is_an_error_that_leaves_no_trace() -> None:
    """The host waits for the device in the middle of it."""
    before = torch.cuda.current_stream()
    x = torch.zeros(4, 3, device="cuda")
    with pytest.raises(RuntimeError):
        CudaGraph(lambda x: x * float(x.sum()), x, cuda_graph)
    assert torch.cuda.current_stream() == before and torch.cuda.get_sync_debug_mode() == 0
    torch.cuda.empty_cache()
    assert CudaGraph(lambda x: x + 1, x, cuda_graph)(x).sum() == 12
