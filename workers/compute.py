"""What the runner computes: an order about one shard becomes chunks and results."""

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.problems import Problem
from radii.attacks import SmoothedAttack, attack_network
from radii.graph import Graph, Obstacle, UnsupportedModel, composed, normalized, to_module, undecorated
from radii.lipschitz import NetworkBound, UnboundedModel, margin_radius, network_bound
from radii.methods import Lipschitz, Smoothing, parse_method
from radii.norms import converted, in_l2
from radii.smoothing import (
    GRIDS,
    Noise,
    certify_decision,
    certify_radius,
    count_chunk,
    input_digest,
    noise_key,
    noise_of,
)
from radii.smoothing.keys import Stage
from radii.smoothing.noise.selftest import BrokenNoise, check_noise
from radii.smoothing.prediction import Counts
from workers.cross_check import attacked
from workers.network import read_graph

log = logging.getLogger(__name__)

Json = dict[str, Any]
Emit = Callable[[str, Any], None]


class Bench:
    """Works on orders, and keeps what the last model cost to prepare."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is not deterministic
        torch.use_deterministic_algorithms(True, warn_only=True)
        self._prepared: _Prepared | None = None
        self._tested: set[tuple[str, float, torch.device]] = set()

    def work(self, order: Json, emit: Emit) -> Json | None:
        """Emit all of the order's chunks and results; the problem document if that can't be done."""
        try:
            method = parse_method(order["method"])
            prepared = self._prepare(order)
            if isinstance(method, Smoothing):
                noise = _noise(method, order["grid"], prepared.device)
                self._test(noise, prepared.device)
                _smooth(method, noise, prepared, order, emit)
            else:
                _bound(method, prepared, order, emit)
        except (UnsupportedModel, UnboundedModel) as error:
            detail = f"{method.kind} does not apply to this model."
            return Problem.METHOD_NOT_APPLICABLE.document(detail, reasons=obstacles(error.obstacles))
        except BrokenNoise as error:
            log.critical("the noise source failed its self-test: %s", error)
            return Problem.BROKEN_NOISE.document(str(error))
        except Exception as error:
            log.exception("failed")
            if out_of_memory(error):
                return Problem.OUT_OF_MEMORY.document(f"Memory ran out at batch size {order['batch_size']}.")
            return Problem.INTERNAL_ERROR.document("The computation failed.")
        return None

    def _test(self, noise: Noise, device: torch.device) -> None:
        """Once for each source, before it certifies anything. Raises ``BrokenNoise``."""
        source = (noise.name, noise.sigma, device)
        if source not in self._tested:
            check_noise(noise, device)
            self._tested.add(source)

    def _prepare(self, order: Json) -> "_Prepared":
        key = (order["digest"], (order.get("denoiser") or {}).get("digest"), order["device"])
        if self._prepared is None or self._prepared.key != key:
            self._prepared = None  # the former model's memory, before the next one's
            self._prepared = _Prepared(key, read_model(order), device(order["device"]))
        return self._prepared


class _Prepared:
    """A model in memory, and what has been found out about it."""

    def __init__(self, key: tuple[str, str | None, str], graph: Graph, device: torch.device) -> None:
        self.key = key
        self.graph = graph
        self.device = device
        self._logits = undecorated(graph)  # the same classifier; a final softmax only hides its margins
        self._bounds: dict[tuple[str, float], NetworkBound] = {}

    @cached_property
    def classifier(self) -> torch.nn.Module:
        """In float32, on the device."""
        return to_module(self.graph).to(self.device)

    @cached_property
    def logits(self) -> torch.nn.Module:
        """In float64, on the CPU: what `bound` is a bound of."""
        return to_module(self._logits, dtype=torch.float64)

    def bound(self, method: Lipschitz) -> NetworkBound:
        key = (method.bound, method.rtol)
        if key not in self._bounds:
            self._bounds[key] = network_bound(self._logits, bound=method.bound, rtol=method.rtol)
        return self._bounds[key]


def device(name: str) -> torch.device:
    """The device that the setting ``auto``, ``cpu`` or ``cuda`` means here."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def read_model(order: Json) -> Graph:
    """The graph that was found fit at intake, behind its denoiser if it has one. Raises ``ValueError`` if the bytes now
    give another one."""
    declared = order["settings"]["input"]
    graph = normalized(read_graph(order), declared["mean"], declared["std"])
    if graph.digest != order["digest"]:
        raise ValueError(f"the model's bytes give the graph {graph.digest}, intake found {order['digest']}")
    return composed(read_model(order["denoiser"]), graph) if order.get("denoiser") else graph


def obstacles(found: Sequence[Obstacle]) -> list[Json]:
    """Obstacles as problem documents list them."""
    return [{"node": o.node, "operator": o.operator, "reason": o.reason, "remedy": o.remedy} for o in found]


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: Python's, a GPU's, or torch's on the CPU (a RuntimeError by its words alone)."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _inputs(order: Json, graph: Graph) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64] | None]:
    x = np.load(order["x"], mmap_mode="r", allow_pickle=False)
    if x.dtype != np.float32 or x.shape[1:] != graph.input_shape:
        raise ValueError(f"inputs are {x.dtype} of shape {x.shape[1:]}, the model takes {graph.input_shape}")
    return x, order["y"] and np.load(order["y"], mmap_mode="r", allow_pickle=False)


def _smooth(method: Smoothing, noise: Noise, model: _Prepared, order: Json, emit: Emit) -> None:
    """Both procedures, chunk by chunk; the chunks that the order brings are not counted again."""
    module, classes = model.classifier, model.graph.num_classes
    xs, ys = _inputs(order, model.graph)
    known: dict[tuple[int, str, int], list[int]] = {
        (chunk["index"], chunk["stage"], chunk["number"]): chunk["counts"] for chunk in order["chunks"]
    }
    alpha = math.nextafter(method.alpha / order["inputs"], 0.0) if method.family_wise else method.alpha
    for index in order["indices"]:
        started = time.perf_counter()
        row = np.array(xs[index])
        x = torch.from_numpy(row).to(model.device)
        key = noise_key(
            bytes.fromhex(order["secret"]),
            model_digest=model.graph.digest,
            input_digest=input_digest(row),
            noise=noise.name,
            sigma=method.sigma,
        )

        def count(stage: Stage, number: int, size: int, index: int = index, x: Tensor = x, key: bytes = key) -> Counts:
            counts = known.get((index, stage, number))
            if counts is None:
                counts = count_chunk(
                    module,
                    x,
                    num_classes=classes,
                    noise=noise,
                    key=key,
                    stage=stage,
                    number=number,
                    size=size,
                    batch_size=order["batch_size"],
                ).tolist()
                emit("chunk", {"index": index, "stage": stage, "number": number, "counts": counts})
            return counts

        law: Json = {"sigma": method.sigma, "law": noise.law, "tail_mass": noise.tail_mass(x.numel()), "alpha": alpha}
        if method.target_radius is None:
            found = certify_radius(count, n0=method.n0, n=method.n, **law)
            radius = None if found.radius is None else converted(found.radius, method.norm, x.numel())
        else:
            target = in_l2(method.target_radius, method.norm, x.numel())
            found = certify_decision(count, target_radius=target, n0=method.n0, n=method.n, **law)
            radius = None if found.radius is None else method.target_radius
        detail = {
            "counts": list(found.counts),
            "pilot_counts": list(found.pilot_counts),
            "n": found.n,
            "unspent": method.n - found.n,
            "p_lower": found.p_lower,
            "p_upper": found.p_upper,
            "sides": found.sides,
            "decision": found.decision,
            "noise": noise.name,
            "seconds": time.perf_counter() - started,
        }
        if index in order["cross_check"] and found.prediction is not None and radius is not None:
            attack = partial(
                SmoothedAttack(batch_size=order["batch_size"]),
                module,
                x,
                noise=noise,
                num_classes=classes,
                prediction=found.prediction,
                radius=radius,
                norm=method.norm,
                key=key,
            )
            detail["attack"] = attacked(row, attack)
        emit("result", _result(index, ys, found.prediction, radius, detail))


def _noise(method: Smoothing, grid: list[float] | None, device: torch.device) -> Noise:
    """In whole steps where the data set is 8-bit and the method does not mind."""
    if grid is not None and method.grid != "off":
        try:
            return GRIDS[method.noise](method.sigma, *grid)
        except ValueError:  # so wide that no table holds it
            if method.grid == "on":
                raise
    return noise_of(method.noise, method.sigma, device)


def _bound(method: Lipschitz, model: _Prepared, order: Json, emit: Emit) -> None:
    """The network's bound, then margins over it. The seconds of an input are its share of its batch, without the
    bound's."""
    bound = model.bound(method)
    emit("report", bound.to_json())
    module = model.logits
    xs, ys = _inputs(order, model.graph)
    for batch in _batches(order["indices"], order["batch_size"]):
        started = time.perf_counter()
        x = torch.from_numpy(xs[batch]).to(torch.float64)
        with torch.inference_mode():
            logits = module(x)
        margins = margin_radius(logits, bound, norms=x.flatten(1).norm(dim=1))
        seconds = (time.perf_counter() - started) / len(batch)
        for index, row, z, found in zip(batch, x, logits.tolist(), margins, strict=True):
            detail: Json = {"runner_up": found.runner_up, "margin": None, "lipschitz": None, "seconds": seconds}
            if found.prediction is not None and found.runner_up is not None:
                detail["margin"] = _finite(z[found.prediction] - z[found.runner_up])
                detail["lipschitz"] = _finite(float(bound.pairs(found.prediction)[found.runner_up]))
            radius = None if found.radius is None else converted(found.radius, method.norm, row.numel())
            if index in order["cross_check"] and found.prediction is not None and radius is not None:
                attack = partial(
                    attack_network, module, row, prediction=found.prediction, radius=radius, norm=method.norm
                )
                detail["attack"] = attacked(row.numpy(), attack)
            emit("result", _result(index, ys, found.prediction, radius, detail))


def _batches(indices: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _result(
    index: int, labels: npt.NDArray[np.int64] | None, prediction: int | None, radius: float | None, detail: Json
) -> Json:
    return {
        "index": index,
        "label": None if labels is None else int(labels[index]),
        "prediction": prediction,
        "radius": radius,
        "abstained": radius is None,
        "detail": detail,
    }
