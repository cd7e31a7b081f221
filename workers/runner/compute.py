"""What the runner computes: an order about one shard becomes chunks and results."""

import logging
import os
import traceback
from collections import OrderedDict
from collections.abc import Sequence

import torch

from models.problems import Problem
from models.types import Json
from radii.graph import Graph, Obstacle, Obstructed
from radii.graph.ir import Node
from radii.graph.module import GraphModule
from radii.methods import parse_method
from radii.smoothing import Noise
from radii.smoothing.noise.selftest import BrokenNoise, check_noise
from workers.causes import first_line, problem_of
from workers.messages import On, Order
from workers.methods import Work, compute
from workers.runner.execution import Ask, ImpreciseNetwork
from workers.runner.gauge import gauge
from workers.runner.heartbeat import HEART, phase, phase_of
from workers.runner.loaded_model import Emit, LoadedModel, described, device, read_model

log = logging.getLogger(__name__)

LOADING = "loading the model"
MOST = 8  # models that are kept prepared
SMALL = 2**22  # bytes of one that is kept beside others

Key = tuple[str | None, str | None, str]


class ShardComputer:
    """Works on orders, and keeps what the last models cost to prepare: small ones, on a CPU, and the last one."""

    def __init__(self, inputs_per_batch: int | None = None) -> None:
        """``inputs_per_batch``: how many inputs share batches at most; by default as suits the device."""
        self._inputs_per_batch = inputs_per_batch
        torch.set_num_threads(1)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is not deterministic
        torch.set_deterministic_debug_mode("warn")  # as use_deterministic_algorithms, which imports a compiler as well
        # It also fills every new tensor, for the sake of those who read one before they write to it.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        self._prepared: OrderedDict[Key, LoadedModel] = OrderedDict()
        self._tested: set[tuple[str, float, torch.device]] = set()

    def work(self, order: Order, emit: Emit, ask: Ask) -> Json | None:
        """Emit all of the order's chunks and results; the problem document if that can't be done.

        Raises ``torch.AcceleratorError`` where the device is lost to this process, and ``FileNotFoundError`` where a
        file of the order is gone.
        """
        try:
            method = parse_method(order.method)
            with phase(LOADING):
                prepared = self._prepare(order)
            emit(On(described(prepared.device)))
            compute(method, Work(prepared, order, emit, ask, self._test, self._inputs_per_batch))
        except Obstructed as error:
            detail = f"{method.kind} does not apply to this model."
            return Problem.METHOD_NOT_APPLICABLE.document(detail, reasons=obstacles(error.obstacles))
        except ImpreciseNetwork as error:
            return Problem.IMPRECISE_NETWORK.document(str(error))
        except BrokenNoise as error:
            log.critical("the noise source failed its self-test: %s", error)
            return Problem.BROKEN_NOISE.document(str(error))
        except torch.AcceleratorError:
            raise  # no order can be worked on here any more; another runner may
        except Exception as error:
            if isinstance(error, FileNotFoundError) and error.filename in _files(order):
                raise  # it was there when the order was made: the blob store is away, for which others wait
            log.exception("failed")
            return _unforeseen(error, order)
        return None

    def _test(self, noise: Noise, device: torch.device) -> None:
        """Once for each source, before it certifies anything. Raises ``BrokenNoise``."""
        source = (noise.name, noise.sigma, device)
        if source not in self._tested:
            check_noise(noise, device)
            self._tested.add(source)

    def _prepare(self, order: Order) -> LoadedModel:
        key = (order.model.digest, None if order.denoiser is None else order.denoiser.digest, order.device)
        if (known := self._prepared.get(key)) is not None:
            self._prepared.move_to_end(key)
            return known
        where = device(order.device)
        large = [old for old, model in self._prepared.items() if where.type != "cpu" or _bytes(model.graph) > SMALL]
        for old in (*large, *list(self._prepared)[: 1 - MOST]):
            self._prepared.pop(old, None)  # a former model's memory, before the next one's
        self._prepared[key] = LoadedModel(key, read_model(order.model, order.denoiser), where)
        HEART.gauge = gauge(where)
        return self._prepared[key]

    def rest(self) -> bool:
        """There is nothing to do: give memory back; whether that is possible without ending the process."""
        self._prepared.clear()
        return not torch.cuda.is_initialized()  # type: ignore[no-untyped-call]


def _bytes(graph: Graph) -> int:
    """What its arrays take."""
    return sum(array.nbytes for node in graph.nodes for array in node.operator.arrays().values())


def _files(order: Order) -> set[str]:
    networks = [network for network in (order.model, order.denoiser) if network is not None]
    models = {path for network in networks for path in (network.file, *network.external_data.values())}
    return models | {path for path in (order.x, order.y) if path is not None}


def _unforeseen(error: Exception, order: Order) -> Json:
    """The problem of an error that no method knows."""
    if out_of_memory(error):
        at = f" at batch size {order.batch_size}" if order.batch_size else ""
        return Problem.OUT_OF_MEMORY.document(f"Memory ran out while {phase_of(error)}{at}.")
    known = problem_of(error)
    if phase_of(error) == LOADING and known["type"] == f"/problems/{Problem.INTERNAL_ERROR.slug}":
        return Problem.MODEL_UNREADABLE.document(f"Reading it, a worker met: {first_line(error)}.")
    if (node := failing_node(error)) is not None:
        where = f"{node.operator.name} (node {node.label or node.output})"
        return Problem.NETWORK_FAILED.document(f"While {phase_of(error)}, its {where} raised {first_line(error)}.")
    return problem_of(error)


def failing_node(error: BaseException) -> Node | None:
    """The node of a network whose operator raised the error, by the frames of its traceback: so a network that runs
    pays nothing for it."""
    found = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code is GraphModule.forward.__code__:
            found = frame.f_locals.get("node")
    return found


def obstacles(found: Sequence[Obstacle]) -> list[Json]:
    """Obstacles as problem documents list them."""
    return [{"node": o.node, "operator": o.operator, "reason": o.reason, "remedy": o.remedy} for o in found]


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: Python's, a GPU's, or torch's on the CPU (a RuntimeError by its words alone)."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
