"""What was counted of noise streams, across certifications: asked again, a question costs nothing and answers the same.

A stream belongs to (model, input, noise), and what is known of it to the tenant who asked: another one who asks the
same has the same votes counted anew, and can't tell that it was asked before.

The ledger keeps sums over its beginnings, a few rows a question: over the samples that were asked for, and over the
whole chunks in them, from where a larger number goes on. The first sum of a beginning stands, whatever another batch
size or device would make of a close vote. See docs/numerics.md 7.4.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from models.base import Json
from models.database import insert
from models.plan import Plan
from models.tables import Ledger

CHUNK = 1000  # radii.smoothing.CHUNK, which models may not import; a test holds them together
MANY = 500  # values in one statement

Counts = list[int]


@dataclass(frozen=True)
class Streams:
    """The streams of a shard's inputs, as far as ``tenant`` has asked about them."""

    tenant: str
    model: str
    noise: str
    inputs: Mapping[int, str]  # index -> digest
    questions: Mapping[str, str] = field(default_factory=dict)
    """Of stages whose entry is of the very same question alone (mean scores, medians, decisions): that question."""

    def stage(self, name: str) -> str:
        """What the ledger calls this stage."""
        return f"{name} {self.questions.get(name, '')}".rstrip()


@dataclass(frozen=True)
class Beginning:
    """What is known of the first samples of a stream: their votes; of mean scores also what chunks say of them, of
    medians what their result does, of a decision which it was."""

    counts: Counts
    scores: Json | None = None
    asked: int | None = None
    """Samples at most, of a decision: it has one row, wherever another device's looks would have ended it."""

    @property
    def samples(self) -> int:
        return sum(self.counts)


def name(noise: Json) -> str:
    """The text that stands for what of a method and its data set the votes depend on."""
    return json.dumps(noise, sort_keys=True, separators=(",", ":"))


def beginnings(session: Session, streams: Streams, stage: str, n: int) -> dict[int, Beginning]:
    """The most that is known of the first n samples of each stream: of all, or of whole chunks."""
    best: dict[str, Beginning] = {}
    digests = sorted(set(streams.inputs.values()))
    for start in range(0, len(digests), MANY):
        known = select(Ledger.input, Ledger.counts, Ledger.scores).where(
            Ledger.tenant == streams.tenant,
            Ledger.model == streams.model,
            Ledger.input.in_(digests[start : start + MANY]),
            Ledger.noise == streams.noise,
            Ledger.stage == streams.stage(stage),
            (Ledger.samples == n) | ((Ledger.samples < n) & (Ledger.samples % CHUNK == 0)),
        )
        for digest, counts, scores in session.execute(known):
            found = Beginning(counts, scores)
            best[digest] = max(best.get(digest, found), found, key=lambda beginning: beginning.samples)
    return {index: best[digest] for index, digest in streams.inputs.items() if digest in best}


def row(streams: Streams, index: int, stage: str, beginning: Beginning) -> Json:
    """The ledger's row for a beginning of the stream of input ``index``."""
    return {
        "tenant": streams.tenant,
        "model": streams.model,
        "input": streams.inputs[index],
        "noise": streams.noise,
        "stage": streams.stage(stage),
        "samples": beginning.asked or beginning.samples,
        "counts": beginning.counts,
        "scores": beginning.scores,
    }


def add(session: Session, new: list[Json]) -> None:
    """Keep these rows; what is there already stands.

    Call it once in a transaction: rows go in sorted, so that no two transactions wait for each other.
    """
    if new:
        keys = sorted(new, key=lambda row: (row["input"], row["stage"], row["samples"]))
        session.execute(insert(session, Ledger).on_conflict_do_nothing(), keys)


def other_noises(session: Session, streams: Streams, indices: Sequence[int], plan: Plan) -> dict[int, list[Json]]:
    """The other noises that their tenant has asked about so far, of this model and each of those inputs, in the plan's
    stages; inputs of which there are none are left out."""
    digests = sorted({streams.inputs[index] for index in indices})
    found: dict[str, set[str]] = {}
    for start in range(0, len(digests), MANY):
        names = select(Ledger.input, Ledger.noise).where(
            Ledger.tenant == streams.tenant,
            Ledger.model == streams.model,
            Ledger.input.in_(digests[start : start + MANY]),
            Ledger.noise != streams.noise,
            or_(*(Ledger.stage.startswith(stage) for stage in plan.ledger)),
        )
        for digest, noise in session.execute(names.distinct()):
            found.setdefault(digest, set()).add(noise)
    noises = {digest: [json.loads(text) for text in sorted(texts)] for digest, texts in found.items()}
    return {index: noises[digest] for index in indices if (digest := streams.inputs[index]) in noises}
