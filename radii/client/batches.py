"""The calls about batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from radii.client.connection import Connection, Json, path_of
from radii.client.waiting import preferring

TABLES = {"csv": "text/csv", "json": "application/json", "parquet": "application/vnd.apache.parquet"}


class Batches(Connection):
    """Certifications that are asked for together. ``Client.get``, ``wait``, ``cancel`` and ``list`` take them too."""

    def create_batch(
        self,
        model_ids: Sequence[str] = (),
        dataset_ids: Sequence[str] = (),
        methods: Sequence[Mapping[str, Any] | BaseModel] = (),
        *,
        items: Sequence[Mapping[str, Any]] = (),
        name: str | None = None,
        subset: slice | None = None,
        denoiser_model_id: str | None = None,
        priority: int | None = None,
        wait: int = 0,
    ) -> Json:
        """Start all combinations of models, data sets and methods, or ``items``: documents with ``model_id``,
        ``dataset_id`` and ``method``, and maybe ``subset``, ``denoiser_model_id`` and ``priority``. 1,000 at most; all
        of them, or none.

        The same certifications are the same batch, so this may be called again. ``ProblemError`` (unfit-batch) lists
        under ``misfits`` all that can't be. Other arguments as of :meth:`Client.create_certification`.
        """
        question: Json = {
            "name": name,
            "model_ids": list(model_ids),
            "dataset_ids": list(dataset_ids),
            "methods": [in_json(method) for method in methods],
            "items": [{**item, "method": in_json(item["method"])} for item in items],
            "subset": None if subset is None else sliced(subset),
            "denoiser_model_id": denoiser_model_id,
        }
        given = {key: value for key, value in question.items() if value}
        given |= {} if priority is None else {"priority": priority}
        return self._object("POST", "/v1/batches", json=given, again=True, **preferring(wait))

    def batch_table(self, batch_id: str, *, radii: Sequence[float] = ()) -> list[Json]:
        """A row for each certification of a batch, in the order in which they were asked for, with its certified
        accuracy at each of ``radii``."""
        rows: list[Json] = self._object("GET", f"{path_of(batch_id)}/table", params=_asked(radii))["items"]
        return rows

    def batch_table_as(self, kind: str, batch_id: str, *, radii: Sequence[float] = ()) -> bytes:
        """The same as a file: "csv", "json" or "parquet", which ``ProblemError`` (not-acceptable) refuses where the
        service can't write it."""
        headers = {"Accept": TABLES[kind]}
        table = self._transport.answer("GET", f"{path_of(batch_id)}/table", params=_asked(radii), headers=headers)
        return table.content


def in_json(method: Mapping[str, Any] | BaseModel) -> Json:
    """A method as requests have it."""
    return method.model_dump() if isinstance(method, BaseModel) else dict(method)


def sliced(subset: slice) -> Json:
    """A subset as requests have it."""
    parts = {"start": subset.start, "stop": subset.stop, "step": subset.step}
    return {key: value for key, value in parts.items() if value is not None}


def _asked(radii: Sequence[float]) -> dict[str, str]:
    return {"radii": ",".join(map(repr, radii))} if radii else {}
