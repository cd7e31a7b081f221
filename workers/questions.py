"""What an order asks about its inputs, as the ledger of votes and the table of answers know it."""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

import radii
from models.blobs import Blobs
from models.repositories import ledger
from models.repositories.answers import Question
from models.repositories.ledger import Streams
from models.repositories.recall import Asked
from models.repositories.shards import WorkOrder
from radii.methods import About, Method, parse_method
from radii.smoothing import input_digest

VERSION = {"radii": radii.__version__}


def asked_of(
    order: WorkOrder, indices: Sequence[int], blobs: Blobs, *, alive: Callable[[], None] = lambda: None
) -> Asked:
    """What the order asks about those inputs. Hashing gigabytes takes a while: ``alive`` is called meanwhile."""
    x = np.load(blobs.verified(order.x_blob, alive=alive), mmap_mode="r", allow_pickle=False)
    y = np.load(blobs.verified(order.y_blob, alive=alive), mmap_mode="r", allow_pickle=False) if order.y_blob else None
    digests: dict[int, str] = {}
    for index in indices:
        digests[index] = input_digest(x[index])
        alive()
    labels = {} if y is None else {index: int(y[index]) for index in indices}
    method = parse_method(order.method)
    about = About(grid=order.grid, range=order.model.settings["input"]["range"], inputs=order.inputs)
    return Asked(_question(order, method, about, digests), _streams(order, method, about, digests), labels)


def _question(order: WorkOrder, method: Method, about: About, digests: Mapping[int, str]) -> Question:
    """What the answers to it are known by."""
    text = ledger.name(method.question(about) | {"grid": order.grid, **VERSION})
    return Question(order.tenant, _model(order), hashlib.sha256(text.encode()).hexdigest(), digests)


def _streams(order: WorkOrder, method: Method, about: About, digests: Mapping[int, str]) -> Streams | None:
    """What the ledger knows these inputs by; None where no votes are counted."""
    asked = method.ledger_question(about)
    if asked is None:
        return None
    questions = {stage: ledger.name(question | VERSION) for stage, question in asked.questions.items()}
    return Streams(order.tenant, _model(order), ledger.name(asked.noise), digests, questions)


def _model(order: WorkOrder) -> str:
    """What ledger and answers know the network by."""
    return " > ".join(network.digest for network in (order.denoiser, order.model) if network is not None)
