"""The table of a batch: a row a certification, as JSON, CSV or Parquet."""

import csv
import io
import json
import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from pydantic import BaseModel, Field

from app.errors import Refusal
from app.figures import CurvePoint, Summary
from app.negotiation import JSON
from app.routes.results import reaching
from models.problems import Problem
from models.repositories import batches
from models.states import JobState
from models.tenant_session import TenantSession
from radii.methods import parse_method
from radii.norms import Norm

CSV, PARQUET = "text/csv", "application/vnd.apache.parquet"
MOST_RADII = 20
FIGURES = ("inputs", "abstained", "failed", "accuracy", "clean_accuracy", "median_radius")


class BatchRow(BaseModel):
    """A certification of a batch, with the figures of its summary; null until it has ended, and where there is none."""

    index: int = Field(description="Its place in the batch, from 0.")
    certification_id: str
    state: JobState
    model_id: str
    model: str = Field(description="The model's name.")
    denoiser_model_id: str | None
    dataset_id: str
    dataset: str = Field(description="The data set's name.")
    kind: str = Field(description="Of the method.")
    method: dict[str, Any] = Field(description="With all parameters. CSV and Parquet: JSON text.")
    inputs_asked: int = Field(description=Summary.model_fields["inputs_asked"].description)
    inputs: int | None = Field(description=Summary.model_fields["inputs"].description)
    abstained: int | None = Field(description=Summary.model_fields["abstained"].description)
    failed: int | None = Field(description=Summary.model_fields["failed"].description)
    accuracy: float | None = Field(description=Summary.model_fields["accuracy"].description)
    clean_accuracy: float | None = Field(description=Summary.model_fields["clean_accuracy"].description)
    norm: Norm | None = Field(description="Norm of the radii.")
    median_radius: float | None = Field(description=Summary.model_fields["median_radius"].description)
    certified_accuracy: list[CurvePoint] = Field(
        description="At each of `radii`, as `GET .../curve?radius=` has it; null unless the state is succeeded, and "
        "none where the method has no curve. CSV and Parquet: a column each, such as `certified_accuracy_at_0.25`."
    )
    problem: str | None = Field(description="Why it failed: the `detail` of its problem.")


class BatchTable(BaseModel):
    """All certifications of a batch, in the order in which they were asked for."""

    items: list[BatchRow]


def asked_radii(text: str | None) -> list[float]:
    """The radii of a query such as ``0.25,0.5``. Refuses what is none."""
    try:
        radii = [float(part) for part in text.split(",")] if text else []
    except ValueError:
        raise _no_radii(f"give numbers, such as 0.25,0.5, not {text!r}") from None
    if not all(0 <= radius < math.inf for radius in radii):
        raise _no_radii("a radius is 0 or more, and finite")
    if len(set(radii)) < len(radii) or len(radii) > MOST_RADII:
        raise _no_radii(f"give {MOST_RADII} radii at most, each once")
    return radii


def _no_radii(message: str) -> Refusal:
    return Refusal(Problem.INVALID_REQUEST, f"radii: {message}", errors=[{"parameter": "radii", "message": message}])


def rows(session: TenantSession, batch_id: str, radii: Sequence[float]) -> list[BatchRow]:
    """The table of that batch."""
    steps = {radius: reaching(radius) for radius in radii}
    counts = batches.certified(session, batch_id, sorted({*radii, *steps.values()})) if radii else {}
    made = []
    for row in batches.table(session, batch_id):
        method, summary = parse_method(row["method"]), row["summary"] or {}
        inputs, reached = counts.get(row["certification_id"], (0, {}))
        points = []
        for radius in radii if method.no_curve is None else ():
            target, share = method.known_up_to, None
            if inputs and (target is None or radius <= target):
                share = reached[steps[radius] if target is None else radius] / inputs
            points.append(CurvePoint(radius=radius, certified_accuracy=share))
        own = {name: row[name] for name in BatchRow.model_fields if name in row}
        own |= {name: summary.get(name) for name in FIGURES}
        own |= {"kind": method.kind, "norm": method.certifies_in, "certified_accuracy": points}
        own |= {"inputs_asked": len(range(row["start"], row["stop"], row["step"]))}
        own |= {"problem": (row["problem"] or {}).get("detail")}
        made.append(BatchRow(**own))
    return made


def written(table: Sequence[BatchRow], radii: Sequence[float], kind: str) -> bytes:
    """The table as a document of that type. Refuses Parquet where the package that writes it is not there."""
    if kind == JSON:
        return BatchTable(items=list(table)).model_dump_json().encode()
    flat = [_flat(row, radii) for row in table]
    if kind == PARQUET:
        return _parquet(flat, _columns(radii))
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(radii))
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue().encode()


def _flat(row: BatchRow, radii: Sequence[float]) -> dict[str, Any]:
    """Text and numbers alone."""
    plain = row.model_dump(mode="json", exclude={"certified_accuracy", "problem"}) | {"method": json.dumps(row.method)}
    shares = {point.radius: point.certified_accuracy for point in row.certified_accuracy}
    points = {_column(radius): shares.get(radius) for radius in radii}
    return plain | points | {"problem": row.problem}


def _columns(radii: Sequence[float]) -> list[str]:
    own = [name for name in BatchRow.model_fields if name not in ("certified_accuracy", "problem")]
    return [*own, *dict.fromkeys(map(_column, radii)), "problem"]


def _column(radius: float) -> str:
    return f"certified_accuracy_at_{repr(radius).removesuffix('.0')}"


def _parquet(flat: Sequence[dict[str, Any]], columns: Sequence[str]) -> bytes:
    if find_spec("pyarrow") is None:
        raise Refusal(
            Problem.NOT_ACCEPTABLE,
            "Parquet is written by the package pyarrow, which this service does not have",
            remedy="Ask for text/csv or application/json, or install it where the API runs: pip install pyarrow.",
        )
    import pyarrow
    from pyarrow import parquet

    types = dict.fromkeys(WHOLE, pyarrow.int32()) | dict.fromkeys(TEXTS, pyarrow.string())
    schema = pyarrow.schema([(name, types.get(name, pyarrow.float64())) for name in columns])
    stream = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(list(flat), schema), stream)
    return stream.getvalue()


WHOLE = ("index", "inputs_asked", "inputs", "abstained", "failed")
TEXTS = [
    name for name, field in BatchRow.model_fields.items() if field.annotation not in (int, int | None, float | None)
]
