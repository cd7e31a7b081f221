"""The client: a method per call, JSON documents in and out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from radii.client.batches import Batches, in_json, sliced
from radii.client.blocks import OnBytes, blocks
from radii.client.connection import Json, path_of
from radii.client.errors import Cancelled, Interrupted, ProblemError
from radii.client.waiting import LONGEST_WAIT, OnChange, ended, following, preferring
from radii.files import external_data

PROBE = 10.0  # seconds in which /readyz must answer with 200


class Client(Batches):
    """A connection to the service. Every call raises ``ProblemError`` and ``Unreachable``.

    ``url``: the argument, else RADII_URL, else this machine's port 8000. ``key``: the argument, else RADII_API_KEY,
    else the file api-key that `radii up` wrote in the data folder (RADII_DATA_DIR, else ~/.radii). ``patience``: the
    argument, else RADII_PATIENCE, else 600: for so many seconds a service that has answered before, and is restarting
    or busy, is tried again; ``on_trouble`` hears of it (by default the log, as a warning).
    """

    def upload(self, source: Path | str | bytes, *, on_bytes: OnBytes | None = None) -> Json:
        """Send a file, or bytes, as they are: ``{id, sha256, size}``. A file is streamed, never wholly in memory."""
        size = len(source) if isinstance(source, bytes) else Path(source).stat().st_size
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        body = lambda: blocks(source, size, on_bytes)  # noqa: E731 (made anew for every try)
        return self._object("POST", "/v1/uploads", content=body, headers=headers, again=True)

    def create_model(
        self,
        file: Path | str,
        *,
        shape: Sequence[int],
        range: tuple[float, float] = (0.0, 1.0),  # noqa: A002 (the API's word)
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        name: str | None = None,
        labels: Sequence[str] | None = None,
        output: str | None = None,
        architecture: Mapping[str, Any] | None = None,
        task: str | None = None,
        on_bytes: OnBytes | None = None,
    ) -> Json:
        """Upload an ONNX file or a graph.json, with its weights where they lie beside it, and register it; intake then
        begins. A safetensors file needs its ``architecture``: {"name": ..., "parameters": {...}}.

        ``shape`` is that of one input, without the batch; ``range`` its values before (x - ``mean``) / ``std``;
        ``task``: "classifier" (default), "binary" (one logit, or its sigmoid), "denoiser" or "regressor".
        """
        file = Path(file)
        external = {path.name: self.upload(path, on_bytes=on_bytes)["id"] for path in external_data(file)}
        question = {
            "upload_id": self.upload(file, on_bytes=on_bytes)["id"],
            "name": name or file.stem,
            "input": {"shape": list(shape), "range": list(range), "mean": mean, "std": std},
            "labels": labels,
            "output": output,
            "architecture": architecture,
            "task": task,
            "external_data": external,
        }
        given = {key: value for key, value in question.items() if value}
        return self._object("POST", "/v1/models", json=given, again=True)  # the same question is the same model

    def create_dataset(self, file: Path | str, *, name: str | None = None, on_bytes: OnBytes | None = None) -> Json:
        """Upload a .npz file (x, optionally y) and register it; intake then begins."""
        file = Path(file)
        upload = self.upload(file, on_bytes=on_bytes)
        question = {"upload_id": upload["id"], "name": name or file.stem}
        return self._object("POST", "/v1/datasets", json=question, again=True)

    def create_certification(
        self,
        model_id: str,
        dataset_id: str | None,
        method: Mapping[str, Any] | BaseModel,
        *,
        inputs: Any = None,
        labels: Sequence[int] | None = None,
        subset: slice | None = None,
        denoiser_model_id: str | None = None,
        priority: int | None = None,
        interactive: bool | None = None,
        wait: int = 0,
    ) -> Json:
        """Start a certification. ``method``: see ``radii.methods``; ``subset``: the rows to certify (default: all);
        ``denoiser_model_id``: a denoiser in front of the model.

        ``inputs``: a few inputs instead of a data set, an array or nested lists (N, *shape of the model's input); its
        id is None then. ``labels``: theirs. ``wait``: seconds, 60 at most, that the service may wait for the end; what
        has ended by then comes with the first page of its ``results``. ``priority``: 0 to 9, higher goes first
        (default: 5). ``interactive``: whether somebody waits for it; a small one then goes before others (default: if
        there are ``inputs``, or a ``wait``).

        Where inputs failed, each for itself, what has ended is ``partial``, and lists ``failed_indices``.
        """
        question: Json = {
            "model_id": model_id,
            "method": in_json(method),
        }
        given = {"dataset_id": dataset_id, "inputs": _listed(inputs), "labels": _listed(labels)}
        given |= {"priority": priority, "interactive": interactive}
        question |= {key: value for key, value in given.items() if value is not None}
        if denoiser_model_id is not None:
            question["denoiser_model_id"] = denoiser_model_id
        if subset is not None:
            question["subset"] = sliced(subset)
        try:
            return self._object("POST", "/v1/certifications", json=question, **preferring(wait))
        except Interrupted as error:
            error.add_note(f"The certification may have started all the same: radii jobs{self.at}")
            raise
        except ValueError as error:  # JSON has none of them
            raise ValueError("the inputs, or the method, hold NaN or infinity: all numbers must be finite") from error

    def predict(
        self,
        model_id: str,
        inputs: Any,
        method: Mapping[str, Any] | BaseModel,
        *,
        denoiser_model_id: str | None = None,
        timeout: float | None = None,
    ) -> list[Json]:
        """What the smoothed classifier answers for a few inputs: a document each, with ``prediction`` (None: it
        abstains), ``p_value`` and ``counts``.

        ``method``: {"kind": "prediction", "sigma": ...}; ``inputs`` as of :meth:`create_certification`. Raises as
        :meth:`wait`, and ``Cancelled``.
        """
        job = self.create_certification(
            model_id, None, method, inputs=inputs, denoiser_model_id=denoiser_model_id, wait=LONGEST_WAIT
        )
        with following(job["id"], self.at):
            if not job["ended"] or job["problem"]:
                job = self.wait(job, timeout=timeout)
            if job["state"] == "cancelled":
                raise Cancelled(job["id"], self.at)
            return list(self.results(job["id"]))

    def median(
        self,
        model_id: str,
        inputs: Any,
        method: Mapping[str, Any] | BaseModel,
        *,
        denoiser_model_id: str | None = None,
        timeout: float | None = None,
    ) -> list[Json]:
        """Between which numbers a regressor's smoothed medians stay near a few inputs: a document each, with
        ``median``, ``lower`` and ``upper``, an entry an output (None: nothing is known).

        ``method``: {"kind": "median", "sigma": ..., "radius": ...}; otherwise as :meth:`predict`.
        """
        return self.predict(model_id, inputs, method, denoiser_model_id=denoiser_model_id, timeout=timeout)

    def get(self, resource_id: str) -> Json:
        """The model, data set, certification or batch of that id."""
        return self._object("GET", path_of(resource_id))

    def wait(self, resource: str | Json, *, on_change: OnChange | None = None, timeout: float | None = None) -> Json:
        """Wait until a resource (or its id) has ended: the last document.

        ``on_change`` sees every changed document, as often as the service says. Raises ``ProblemError`` with the
        resource's own problem if it was rejected or has failed (a batch has none: see its ``state``), and
        ``TimeoutError`` after ``timeout`` seconds.
        """
        resource_id = resource if isinstance(resource, str) else resource["id"]
        path = path_of(resource_id)
        with following(resource_id, self.at) if resource_id.startswith(("cert_", "bat_")) else nullcontext():
            document = ended(self._transport, path, on_change=on_change, timeout=timeout)
        if document.get("problem"):
            raise ProblemError(document["problem"])
        return document

    def results(self, certification_id: str) -> Iterator[Json]:
        """The results, one an input, in the order of the data set; streamed. Goes on after the last one where the
        service broke off."""
        path, headers = f"{path_of(certification_id)}/results", {"Accept": "application/jsonl"}
        last: int | None = None
        while True:
            begun = last
            query = {} if last is None else {"cursor": last}
            try:
                with self._transport.stream("GET", path, headers=headers, params=query) as response:
                    for line in response.iter_lines():
                        if line:
                            row = json.loads(line)
                            yield row
                            last = row["index"]
                return
            except Interrupted:
                if last == begun:  # no progress since the last time
                    raise

    def curve(self, certification_id: str, *, radius: float | None = None) -> Json:
        """Certified accuracy against radius: the corners of a falling step function, to be read as ``reading`` says,
        and its confidence band. ``complete`` is false while it is of the first inputs alone.

        ``radius``: to be answered in ``at``; ``ProblemError`` (incomplete) until every input is done.
        """
        query = {} if radius is None else {"radius": radius}
        return self._object("GET", f"{path_of(certification_id)}/curve", params=query)

    def report(self, certification_id: str) -> Json:
        """The bound that a ``lipschitz`` certification rests on, layer by layer, or of ``local`` what its radii are
        about; ``ProblemError`` (not-ready) before the bound is proved."""
        return self._object("GET", f"{path_of(certification_id)}/report")

    def cancel(self, job_id: str) -> Json:
        """End a certification or a batch; ``ProblemError`` (already-ended) if it has ended."""
        return self._object("POST", f"{path_of(job_id)}/cancel")

    def delete(self, resource_id: str, *, cascade: bool = False) -> Json:
        """Delete an upload, model, data set, certification or batch: what went (``deleted``). A certification that has
        not ended is cancelled first.

        ``ProblemError`` (still-needed) names what needs it, in ``needed_by``; ``cascade``: that goes too.
        """
        if resource_id.startswith("key_"):
            raise ValueError(f"{resource_id} is a key, which is revoked (revoke_key, radii keys revoke)")
        return self._object("DELETE", path_of(resource_id), params={"cascade": "true"} if cascade else {})

    def list(self, collection: str) -> Iterator[Json]:
        """All ``models``, ``datasets``, ``certifications``, ``batches`` or ``keys``, newest first; pages are fetched as
        they are needed."""
        query: dict[str, str] = {}
        while True:
            page = self._object("GET", f"/v1/{collection}", params=query)
            yield from page["items"]
            if not page.get("next_cursor"):
                return
            query = {"cursor": page["next_cursor"]}

    def create_key(self, name: str) -> Json:
        """A new API key; its text, ``key``, is in this answer alone."""
        return self._object("POST", "/v1/keys", json={"name": name})

    def revoke_key(self, key_id: str) -> Json:
        """Refuse an API key from now on; ``ProblemError`` (last-key) if it is the last valid one."""
        return self._object("DELETE", path_of(key_id), again=True)

    def workers(self) -> Sequence[Json]:
        """The workers that are there, and what each does."""
        found: Sequence[Json] = self._object("GET", "/v1/workers")["items"]
        return found

    def ready(self) -> Json:
        """What /readyz says; ``ProblemError`` (unavailable) if a part is not reachable for ten seconds."""
        return self._object("GET", "/readyz", patience=min(PROBE, self._transport.patience))


def _listed(values: Any) -> Any:
    """An array as nested lists."""
    return values.tolist() if hasattr(values, "tolist") else values
