"""The local method on a shard: each input for itself, so that its radius depends on no other input of its shard."""

import time
from dataclasses import asdict, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.types import Json
from radii.attacks import Attack, attack_network
from radii.float32 import rounded
from radii.lipschitz import NetworkBound, UnboundedModel, margin_radius
from radii.local import Network, certify
from radii.methods import Local
from radii.norms import converted
from workers.messages import Report
from workers.methods import Work
from workers.runner.attacks import attacked
from workers.runner.heartbeat import phase, step
from workers.runner.loaded_model import CPU, LoadedModel, classes, inputs, result

STEPS = 5  # of the attack that says where to search; the cross-check takes more


def compute(method: Local, work: Work) -> None:
    """Every input that has no result yet. On the CPU whatever the device: the same float64 on all workers."""
    model, order = work.model, work.order
    network = model.relaxed
    bound, report = _lipschitz(model)
    box = _ends(order.model.settings["input"]["range"]) if method.box else None
    work.emit(Report(report | {"valid_range": None if box is None else list(box)}))
    near = _Near(method, model, network, bound, box)
    xs, ys = inputs(order, model.graph)
    with phase("bounding near inputs", CPU):
        for index in order.indices:
            row = np.array(xs[index], np.float64)
            prediction, radius, detail = near.answer(row)
            asked = index in order.cross_check and "attack" not in detail
            if asked and prediction is not None and radius is not None:
                detail["attack"] = near.attack(row, prediction, radius)
            work.emit(result(index, ys, prediction, radius, radius is None, detail))
            step()


def _lipschitz(model: LoadedModel) -> tuple[NetworkBound | None, Json]:
    """The network's bound, and what the report says of it."""
    try:
        bound = model.bound()
    except UnboundedModel as error:
        return None, {"lipschitz": None, "rule": None, "unbounded": [asdict(obstacle) for obstacle in error.obstacles]}
    return bound, {"lipschitz": bound.upper, "rule": bound.rule, "unbounded": []}


def _ends(declared: list[float]) -> tuple[float, float]:
    """The declared range, and what float32 makes of its ends: inputs may lie there."""
    low, high = declared
    return min(low, rounded(low)), max(high, rounded(high))


class _Near:
    """Answers about one input after the other."""

    def __init__(
        self,
        method: Local,
        model: LoadedModel,
        network: Network,
        bound: NetworkBound | None,
        box: tuple[float, float] | None,
    ) -> None:
        self.method, self.logits, self.network = method, model.logits, network
        self.bound, self.box = bound, box

    def answer(self, row: npt.NDArray[np.float64]) -> tuple[int | None, float | None, Json]:
        """The class of an input and the radius within which that is certified, both None where none is; and what else
        is said."""
        started = time.perf_counter()
        x = torch.from_numpy(row)[None]
        with torch.no_grad():
            logits = self.logits(x)
        [clean] = classes(logits)
        detail: Json = {"clean_prediction": clean, "valid_range": None if self.box is None else list(self.box)}
        found = None if clean is None else self._radius(row, clean, self._floor(x, logits), detail)
        target = self.method.target_radius
        if target is not None:
            detail["decision"] = "not certified" if found is None else "certified"
        detail["seconds"] = time.perf_counter() - started
        return (None, None, detail) if found is None else (clean, target or found, detail)

    def _floor(self, x: Tensor, logits: Tensor) -> float:
        """The radius by the Lipschitz bound; 0: none."""
        if self.bound is None:
            return 0.0
        [margin] = margin_radius(logits, self.bound, norms=x.flatten(1).norm(dim=1))
        return converted(margin.radius or 0.0, self.method.norm, x.numel())

    def _radius(self, row: npt.NDArray[np.float64], prediction: int, floor: float, detail: Json) -> float | None:
        """The largest radius that is proved; None where that is none, or less than what is asked about."""
        target = self.method.target_radius
        detail["lipschitz_radius"] = floor or None
        if target is not None and floor >= target:
            detail["rule"] = "lipschitz"
            return floor
        tried = self.attack(row, prediction, floor, steps=STEPS)
        if tried.get("contradicted"):
            detail["attack"] = tried  # of the Lipschitz radius: it fails the job, drawn or not
        nearest = detail["nearest_attack"] = tried.get("distance")
        [found] = certify(
            self.network,
            row[None],
            np.array([prediction]),
            norm=self.method.norm,
            effort=self.method.effort,
            box=self.box,
            target_radius=target,
            floor=[floor],
            ceiling=[min(np.inf if nearest is None else nearest, self._farthest(row))],
        )
        detail |= {"local_radius": found.proved, "not_proved": found.failed, "tried": found.tried}
        detail |= {"unstable": found.unstable, "parts": found.branches, "notes": list(found.notes)}
        if not found.radius or (target is not None and found.radius < target):
            return None
        detail["rule"] = "local" if found.rule == "local" else "lipschitz"
        return found.radius

    def _farthest(self, row: npt.NDArray[np.float64]) -> float:
        """About how far from the input the range ends; larger radii say nothing new."""
        if self.box is None:
            return np.inf
        reach = np.maximum(row - self.box[0], self.box[1] - row).ravel()
        order = {"l2": 2, "linf": np.inf, "l1": 1}[self.method.norm]
        return float(np.linalg.norm(reach, order))

    def attack(self, row: npt.NDArray[np.float64], prediction: int, radius: float, *, steps: int = 10) -> Json:
        """What an attack finds, of inputs within the valid range where the radius is of those."""
        box = self.box

        def classifier(points: Tensor) -> Tensor:
            found: Tensor = self.logits(points if box is None else points.clamp(*box))
            return found

        def attack() -> Attack:
            error = None if self.bound is None else self.bound.error.at
            x = torch.from_numpy(row)
            claim: Json = {"prediction": prediction, "radius": radius, "norm": self.method.norm}
            found = attack_network(classifier, x, steps=steps, error=error, **claim)
            if box is None or found.x is None:
                return found
            return replace(found, x=found.x.clip(*box))  # no farther from x, which lies in the range

        return attacked(row, attack)
