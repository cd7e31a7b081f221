"""Programs that run a network.

All compute the same function, in float32 or, where that is asked, in bfloat16; they sum in other orders, so votes may
differ at near-ties. A certificate names the one that voted. `radii.execution.search` finds the fastest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from radii.execution.cuda_graphs import CudaGraph, compiled, cuda_graph
from radii.graph import Graph, to_module
from radii.smoothing.sampling import Classifier

TORCH, CHANNELS_LAST, ONNXRUNTIME = "torch", "torch, channels last", "onnxruntime"
GRAPH, CHANNELS_LAST_GRAPH = "torch, CUDA graph", "torch, channels last, CUDA graph"
COMPILED = "torch, compiled, CUDA graph"
START = 100
RECORDED = {GRAPH: TORCH, CHANNELS_LAST_GRAPH: CHANNELS_LAST, COMPILED: TORCH}
"""Those made for batches of one size, and what it is that they record."""


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
    if device.type == "cuda":
        return [*names, *(name for name, recorded in RECORDED.items() if recorded in names)]
    # Of torch.compile on a CPU (AVX-512, one thread, with and without freezing): a small CNN takes 11 to 27 % longer
    # than by onnxruntime, ResNet-18 2 to 5 % less than by the best of the others; for 6 to 18 s of compilation.
    if device.type == "cpu" and dtype == torch.float32:
        names.append(ONNXRUNTIME)
    return names


def build(
    executor: str,
    graph: Graph,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    *,
    batch_size: int = START,
) -> Classifier:
    """The graph in ``dtype`` on the device, float32 in and out. By torch it has gradients.

    What is recorded takes ``batch_size`` samples at most, and its next logits overwrite these. Raises whatever goes
    wrong where this executor can't run it, here or at its first call.
    """
    if executor == ONNXRUNTIME:
        return _OnnxRuntime(graph)
    if executor in RECORDED:
        classifier = build(RECORDED[executor], graph, device, dtype)
        if executor == COMPILED:
            classifier = compiled(classifier)
        return CudaGraph(classifier, torch.zeros((batch_size, *graph.input_shape), device=device), cuda_graph)
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
    """A network run by onnxruntime on one CPU thread."""

    def __init__(self, graph: Graph) -> None:
        from radii.graph.writer import write_onnx  # onnx, which torch alone does not need
        from radii.runtime import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            write_onnx(graph), options, providers=["CPUExecutionProvider"], disabled_optimizers=["Pad_Fusion"]
        )

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        (logits,) = self._session.run(["y"], {"x": x.numpy()})
        return torch.from_numpy(logits)
