"""A model in memory, its inputs, and what a result looks like: what every method needs."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from models.counts import InputResult
from models.types import Json
from radii.bounds import DEFAULT_BUDGET, BoundName
from radii.execution import executors
from radii.execution.executors import START, Execution
from radii.graph import Graph, composed, normalized, to_module, undecorated
from radii.lipschitz import NetworkBound, network_bound
from radii.local import Network
from radii.smoothing.sampling import Classifier
from workers.messages import Event, NetworkFiles, Order
from workers.network import read_graph
from workers.runner.heartbeat import doing, phase, stepping

Emit = Callable[[Event], None]

CPU = torch.device("cpu")
BOUNDING = "bounding the network"


class LoadedModel:
    """A model in memory, and what has been found out about it."""

    def __init__(self, key: tuple[str | None, str | None, str], graph: Graph, device: torch.device) -> None:
        self.key = key
        self.graph = graph
        self.device = device
        self._logits = undecorated(graph)  # the same classifier; a final softmax, say, only hides its margins
        self._bounds: dict[tuple[str, float, int], NetworkBound] = {}
        self.row_invariant: dict[
            tuple[torch.dtype, Execution], bool
        ] = {}  # whether a row's place in a batch is all the same
        self._networks: dict[tuple[bool, torch.dtype], Classifier] = {}
        self._kept: tuple[tuple[Execution, bool, torch.dtype], Classifier] | None = None

    def network(self, *, soft: bool = False, dtype: torch.dtype = torch.float32) -> Classifier:
        """The classifier by torch, on the device, with gradients; if ``soft``, its logits (`undecorated`), since mean
        scores have a map of their own."""
        if (soft, dtype) not in self._networks:
            self._networks[soft, dtype] = self._built(Execution(executors.TORCH, START), soft, dtype)
        return self._networks[soft, dtype]

    @cached_property
    def logits(self) -> torch.nn.Module:
        """In float64, on the CPU: what `bound` is a bound of."""
        return to_module(self._logits, dtype=torch.float64)

    @cached_property
    def relaxed(self) -> Network:
        """In float64, on the CPU, for bounds near single inputs. Raises ``NotRelaxable``."""
        return Network.of(self.graph)

    def build(self, execution: Execution, *, soft: bool, dtype: torch.dtype) -> Classifier:
        """What `network` is, by an executor. Raises whatever goes wrong where it can't run it."""
        if execution.executor == executors.TORCH:
            return self.network(soft=soft, dtype=dtype)
        return self._built(execution, soft, dtype)

    def kept(self, execution: Execution, *, soft: bool, dtype: torch.dtype) -> Classifier:
        """What `build` makes, which the next order about this model will need too."""
        key = (execution, soft, dtype)
        if self._kept is None or self._kept[0] != key:
            self._kept = None  # the former one's memory, before the next one's
            self._kept = key, self.build(execution, soft=soft, dtype=dtype)
        return self._kept[1]

    def _built(self, execution: Execution, soft: bool, dtype: torch.dtype) -> Classifier:
        graph = self._logits if soft else self.graph
        with phase("making ready what runs the samples", CPU):  # which may take minutes of compiling
            return executors.build(execution.executor, graph, self.device, dtype, batch_size=execution.batch_size)

    def bound(self, bound: BoundName = "auto", rtol: float = 1e-6, budget: int = DEFAULT_BUDGET) -> NetworkBound:
        """The network's, by that rule, within that budget."""
        key = (bound, rtol, budget)
        if key not in self._bounds:
            with phase(BOUNDING, CPU):
                self._bounds[key] = network_bound(
                    self.graph, bound=bound, rtol=rtol, budget=budget, progress=lambda at: doing(f"{BOUNDING}: {at}")
                )
        return self._bounds[key]


def device(name: str) -> torch.device:
    """The device that the setting ``auto``, ``cpu`` or ``cuda`` means here."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def described(device: torch.device) -> str:
    """The kind of device, of which two of a kind compute the same: as certificates call it."""
    if device.type == "cpu":
        return f"cpu, {torch.backends.cpu.get_cpu_capability()}"
    return f"{device.type}, {torch.cuda.get_device_name(device)}"


def read_model(network: NetworkFiles, denoiser: NetworkFiles | None = None) -> Graph:
    """The graph that was found fit at intake, behind its denoiser if it has one. Raises ``ValueError`` if the bytes now
    give another one."""
    declared = network.settings["input"]
    graph = normalized(read_graph(network), declared["mean"], declared["std"])
    if graph.digest != network.digest:
        raise ValueError(f"the model's bytes give the graph {graph.digest}, intake found {network.digest}")
    return graph if denoiser is None else composed(read_model(denoiser), graph)


CLEAN = 16
"""Inputs that the network answers at a time, without noise."""


def clean_predictions(
    classifier: Classifier, xs: npt.NDArray[np.float32], indices: list[int], device: torch.device
) -> dict[int, int | None]:
    """The class that the network f answers to each of those inputs; None where its logits are not finite."""
    found: list[int | None] = []
    answer = stepping(classifier)
    with torch.inference_mode(), phase("answering without noise", device):
        for start in range(0, len(indices), CLEAN):
            found += classes(answer(torch.from_numpy(xs[indices[start : start + CLEAN]]).to(device)))
    return dict(zip(indices, found, strict=True))


def classes(logits: torch.Tensor) -> list[int | None]:
    """The class of the largest logit of each row, of equal ones the first; None where not all are finite."""
    first = logits.argmax(1).tolist()
    return [j if finite else None for j, finite in zip(first, logits.isfinite().all(1).tolist(), strict=True)]


def inputs(order: Order, graph: Graph) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64] | None]:
    x = np.load(order.x, mmap_mode="r", allow_pickle=False)
    if x.dtype != np.float32 or x.shape[1:] != graph.input_shape:
        raise ValueError(f"inputs are {x.dtype} of shape {x.shape[1:]}, the model takes {graph.input_shape}")
    return x, None if order.y is None else np.load(order.y, mmap_mode="r", allow_pickle=False)


def result(
    index: int,
    labels: npt.NDArray[np.int64] | None,
    prediction: int | None,
    radius: float | None,
    abstained: bool,
    detail: Json,
) -> InputResult:
    """Abstaining is no answer: ``prediction`` is then None, whatever class was looked at."""
    label = None if labels is None else int(labels[index])
    return InputResult(index, label, None if abstained else prediction, radius, abstained, detail)
