"""Work that is recorded once and then launched whole: on a GPU most of a small network's time is the launching."""

import warnings
from collections.abc import Callable

import torch

from radii.smoothing.sampling import Classifier

WARM_UP = 3  # passes: libraries choose their algorithms and take their memory in the first ones
Record = Callable[[Callable[[], torch.Tensor], torch.device], tuple[Callable[[], None], torch.Tensor]]
"""Records what is done on a device: how to do it again, and the tensor that then has the outcome."""


class CudaGraph:
    """A classifier for batches (n, *shape) of one size, or of fewer samples: they run beside what was there before.

    Recorded where it is made, on samples of 0. Without gradients. Its logits lie where those of the next call will.
    """

    def __init__(self, classifier: Classifier, batch: torch.Tensor, record: Record) -> None:
        """``batch``: as large as any to come, on their device. Raises whatever goes wrong."""
        self._classifier, self._batch = classifier, batch  # what is recorded holds neither
        with torch.inference_mode():
            self._again, self._logits = record(lambda: classifier(batch), batch.device)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > len(self._batch):
            raise ValueError(f"x: has {len(x)} samples; recorded were batches of {len(self._batch)}")
        with torch.inference_mode():
            self._batch[: len(x)].copy_(x)
            self._again()
            return self._logits[: len(x)]


def cuda_graph(work: Callable[[], torch.Tensor], device: torch.device) -> tuple[Callable[[], None], torch.Tensor]:
    """Recorded as a CUDA graph, whose memory is its own. Raises whatever keeps ``work`` from being one.

    See https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
    """
    with torch.cuda.device(device):
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        # A capture that fails leaves its stream the current one: here that ends with the block.
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                work()
            _check(work)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=side):
                outcome = work()
        torch.cuda.current_stream().wait_stream(side)
    return graph.replay, outcome


def _check(work: Callable[[], torch.Tensor]) -> None:
    """Raises ``RuntimeError`` where the host waits for the device, or copies to it: no graph can hold that, and after a
    capture that fails torch's allocator returns no memory to the device any more."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this mode is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        work()
    finally:
        torch.cuda.set_sync_debug_mode(before)


def compiled(classifier: Classifier) -> Classifier:
    """It, by torch.compile (inductor): for each shape of x, at its first call, which takes half a minute or more.

    On CUDA that needs Triton, and a C compiler for what Triton makes to launch its kernels.
    """

    def network(x: torch.Tensor) -> torch.Tensor:
        return classifier(x)

    # Code of its own: torch compiles the same code eight times at most in a process, for whatever networks.
    network.__code__ = network.__code__.replace()
    # "deterministic": no kernel is chosen by its time where the choice is one of order, of summation too
    return torch.compile(network, fullgraph=True, dynamic=False, options={"deterministic": True})
