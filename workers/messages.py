"""What a supervisor and its runner say to each other, one message a line of JSON: ``{kind: fields}``.

Down go orders, what was settled of a proposal, and that it is enough. Up come the device, any number of chunks and
results, a report, and proposals; then one ``Done``, ``Stopped`` or ``Failure``. Amid them phases and, while there is
progress, ``Alive``. Where the runner can't go on at all, ``Crash`` is its last.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

from models.counts import ChunkCounts, InputResult
from models.types import Json


@dataclass(frozen=True)
class NetworkFiles:
    """An uploaded network: its files, and what was declared of it."""

    settings: Json
    file: str
    external_data: dict[str, str]  # files, by the names that the network's own calls them
    digest: str | None = None  # of the graph, once intake has found it


@dataclass(frozen=True)
class Order:
    """A shard to compute: the files that it is about, the noise secret, and how to go about it."""

    method: Json
    model: NetworkFiles
    denoiser: NetworkFiles | None  # in front of it
    x: str
    y: str | None
    inputs: int  # of the whole certification
    grid: list[float] | None  # the range that 255 steps of 8-bit inputs span
    indices: list[int]  # the inputs that have no result yet
    cross_check: list[int]  # the inputs to attack where they are certified
    chunks: list[ChunkCounts]  # what is already counted of them
    execution: Json | None  # what runs the samples, once that is settled
    executions: list[Json]  # until then: what earlier searches found, each with its `method`, latest first
    secret: str  # hex
    batch_size: int | None  # None: as suits the device
    attempts: int  # in a row without progress, this one included
    part: Json | None  # of one input: `stage`, and the chunks `first` to `stop - 1` of so many `samples`
    device: str  # auto, cpu or cuda
    log_id: str
    log_level: str


@dataclass(frozen=True)
class Enough:
    """Others have the rest of the order: stop after what is being counted."""


@dataclass(frozen=True)
class Settled:
    """What runs the certification's samples: the answer to a proposal, which may be another worker's."""

    execution: Json


@dataclass(frozen=True)
class Report:
    """What the certification rests on besides its inputs."""

    document: Json


@dataclass(frozen=True)
class Proposal:
    """What might run the certification's samples."""

    execution: Json


@dataclass(frozen=True)
class Phase:
    """What the runner does from now on, in words that follow "while"."""

    name: str


@dataclass(frozen=True)
class Alive:
    """There is progress. What the runner computes on, once it does, and the bytes of memory that it holds there, of how
    many."""

    device: str | None = None
    memory: int | None = None
    memory_total: int | None = None


@dataclass(frozen=True)
class Crash:
    """The runner ends, of what these words say."""

    words: str


@dataclass(frozen=True)
class On:
    """The kind of device that orders are computed on, as certificates call it."""

    device: str


@dataclass(frozen=True)
class Stopped:
    """There was enough; what came until then stands."""


@dataclass(frozen=True)
class Done:
    """The order is done."""


@dataclass(frozen=True)
class Failure:
    """The order can't be done."""

    problem: Json


Event = ChunkCounts | InputResult | Report | Proposal | Phase | Alive | Crash | On | Stopped | Done | Failure
Message = Order | Enough | Settled | Event

KINDS: dict[str, type[Message]] = {
    "order": Order,
    "enough": Enough,
    "settled": Settled,
    "chunk": ChunkCounts,
    "result": InputResult,
    "report": Report,
    "proposal": Proposal,
    "phase": Phase,
    "alive": Alive,
    "crash": Crash,
    "on": On,
    "stopped": Stopped,
    "done": Done,
    "failure": Failure,
}
NAMES = {cls: kind for kind, cls in KINDS.items()}


def encoded(message: Message) -> str:
    """The message as a line. Raises ``ValueError`` for a number that is not finite."""
    fields = asdict(message) if isinstance(message, Order) else vars(message)
    return json.dumps({NAMES[type(message)]: fields}, allow_nan=False) + "\n"


def decoded(line: str | bytes) -> Message:
    """The message of a line. Raises ``ValueError`` for what is none."""
    try:
        [(kind, fields)] = dict(json.loads(line)).items()
        return KINDS[kind](**(_nested(fields) if kind == "order" else fields))
    except (KeyError, TypeError) as error:
        raise ValueError(f"no message: {error}") from error


def _nested(fields: Json) -> dict[str, Any]:
    networks = {name: fields[name] and NetworkFiles(**fields[name]) for name in ("model", "denoiser")}
    return {**fields, **networks, "chunks": [ChunkCounts(**chunk) for chunk in fields["chunks"]]}
