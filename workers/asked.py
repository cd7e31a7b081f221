"""What an order asks about its inputs, as the ledger of votes and the table of answers know it."""

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np

import radii
from models.base import Json
from models.blobs import Blobs
from models.repositories import ledger
from models.repositories.answers import Question
from models.repositories.ledger import Streams
from models.repositories.recall import Asked
from models.repositories.shards import WorkOrder
from radii.methods import Lipschitz, Median, Smoothed, Smoothing, Splitting, parse_method
from radii.smoothing import input_digest, sequential


def asked_of(order: WorkOrder, indices: Sequence[int], blobs: Blobs) -> Asked:
    """What the order asks about those inputs."""
    x = np.load(blobs.path(order.x_blob), mmap_mode="r", allow_pickle=False)
    y = np.load(blobs.path(order.y_blob), mmap_mode="r", allow_pickle=False) if order.y_blob else None
    digests = {index: input_digest(x[index]) for index in indices}
    labels = {} if y is None else {index: int(y[index]) for index in indices}
    return Asked(_question(order, digests), _streams(order, digests), labels)


def _question(order: WorkOrder, digests: Mapping[int, str]) -> Question:
    """What the answers to it are known by: all that they depend on, which leaves out what is attacked, and how many
    share alpha."""
    method = parse_method(order.method)
    whole: Json = {"method": method.model_dump(exclude={"cross_check", "family_wise"}), "grid": order.grid}
    if isinstance(method, Smoothed):
        if method.family_wise:
            whole["method"]["alpha"] = math.nextafter(method.alpha / order.inputs, 0.0)
        whole["rounded"] = method.rounded_to(order.grid, order.model.settings["input"]["range"])
        whole["test"] = sequential.TEST
    text = ledger.name(whole | {"radii": radii.__version__})
    return Question(_model(order), hashlib.sha256(text.encode()).hexdigest(), digests)


def _streams(order: WorkOrder, digests: Mapping[int, str]) -> Streams | None:
    """What the ledger knows these inputs by; None where no votes are counted."""
    method = parse_method(order.method)
    if isinstance(method, Lipschitz | Splitting):
        return None
    grid = None if method.grid == "off" else order.grid
    asked: Json = {}
    of: tuple[str, ...] = ()
    if isinstance(method, Median):
        of, asked = ("median",), {"n": method.n, "radius": method.radius}
    elif isinstance(method, Smoothing) and method.soft:
        # the pilot's choice, and which samples may count on a constant
        of, asked = ("pilot", "estimate"), {"n0": method.n0, "n": method.n}
    elif isinstance(method, Smoothing) and method.target_radius is not None:
        of, asked = ("estimate",), method.model_dump(include={"n0", "n", "target_radius", "norm"})
        asked["test"] = sequential.TEST  # what another test decided is not this one's answer
    alpha = method.alpha / order.inputs if method.family_wise else method.alpha
    question = ledger.name(asked | {"alpha": alpha, "radii": radii.__version__})
    whole: Json = {"grid": grid}
    if ends := method.rounded_to(order.grid, order.model.settings["input"]["range"]):
        whole["rounded"] = ends
    return Streams(
        model=_model(order),
        noise=ledger.name({**method.votes_depend_on, **whole}),
        inputs=digests,
        questions=dict.fromkeys(of, question),
    )


def _model(order: WorkOrder) -> str:
    """What ledger and answers know the network by."""
    return " > ".join(network.digest for network in (order.denoiser, order.model) if network is not None)
