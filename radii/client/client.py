"""The client: a method per call, JSON documents in and out."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from pydantic import BaseModel

from radii.client.errors import Cancelled, Interrupted, ProblemError
from radii.client.transport import PATIENCE, OnTrouble, Transport
from radii.client.waiting import LONGEST_WAIT, OnChange, ended, following, preferring
from radii.files import external_data

Json = dict[str, Any]
OnBytes = Callable[[int, int], None]  # bytes sent so far, bytes in all

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_DATA_DIR = "~/.radii"
BLOCK = 1 << 18  # bytes; small enough for a progress bar to move
PROBE = 10.0  # seconds in which /readyz must answer with 200
COLLECTIONS = {"upl": "uploads", "mdl": "models", "dat": "datasets", "cert": "certifications", "key": "keys"}


class Client:
    """A connection to the service. Every call raises ``ProblemError`` and ``Unreachable``.

    ``url``: the argument, else RADII_URL, else this machine's port 8000. ``key``: the argument, else RADII_API_KEY,
    else the file api-key that `radii up` wrote in the data folder (RADII_DATA_DIR, else ~/.radii). ``patience``: the
    argument, else RADII_PATIENCE, else 600: for so many seconds a service that has answered before, and is restarting
    or busy, is tried again; ``on_trouble`` hears of it (by default the log, as a warning).
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        patience: float | None = None,
        on_trouble: OnTrouble | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        default = (os.environ.get("RADII_URL") or DEFAULT_URL).rstrip("/")
        self.url = url.rstrip("/") if url else default
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"the service's URL is {self.url!r} (--url, or RADII_URL); give http://... or https://...")
        # What the commands that are named to the user need beside their arguments, to reach the same service.
        self.at = "" if self.url == default else f" --url {shlex.quote(self.url)}"
        key = key or os.environ.get("RADII_API_KEY") or _kept_key()
        patience = _patience() if patience is None else patience
        self._transport = Transport(self.url, key, transport, patience=patience)
        if on_trouble is not None:
            self.on_trouble = on_trouble

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def on_trouble(self) -> OnTrouble:
        """Hears, once a trouble, that the service does not answer and is tried again."""
        return self._transport.on_trouble

    @on_trouble.setter
    def on_trouble(self, hear: OnTrouble) -> None:
        self._transport.on_trouble = hear

    def close(self) -> None:
        """Give the connections back."""
        self._transport.close()

    def upload(self, source: Path | str | bytes, *, on_bytes: OnBytes | None = None) -> Json:
        """Send a file, or bytes, as they are: ``{id, sha256, size}``. A file is streamed, never wholly in memory."""
        size = len(source) if isinstance(source, bytes) else Path(source).stat().st_size
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        body = lambda: _blocks(source, size, on_bytes)  # noqa: E731 (made anew for every try)
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
        wait: int = 0,
    ) -> Json:
        """Start a certification. ``method``: see ``radii.methods``; ``subset``: the rows to certify (default: all);
        ``denoiser_model_id``: a denoiser in front of the model.

        ``inputs``: a few inputs instead of a data set, an array or nested lists (N, *shape of the model's input); its
        id is None then. ``labels``: theirs. ``wait``: seconds, 60 at most, that the service may wait for the end; what
        has ended by then comes with the first page of its ``results``.
        """
        question: Json = {
            "model_id": model_id,
            "method": method.model_dump() if isinstance(method, BaseModel) else dict(method),
        }
        given = {"dataset_id": dataset_id, "inputs": _listed(inputs), "labels": _listed(labels)}
        question |= {key: value for key, value in given.items() if value is not None}
        if denoiser_model_id is not None:
            question["denoiser_model_id"] = denoiser_model_id
        if subset is not None:
            parts = {"start": subset.start, "stop": subset.stop, "step": subset.step}
            question["subset"] = {key: value for key, value in parts.items() if value is not None}
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
        """The model, data set or certification of that id."""
        return self._object("GET", _path(resource_id))

    def wait(self, resource: str | Json, *, on_change: OnChange | None = None, timeout: float | None = None) -> Json:
        """Wait until a resource (or its id) has ended: the last document.

        ``on_change`` sees every changed document, as often as the service says. Raises ``ProblemError`` with the
        resource's own problem if it was rejected or has failed, and ``TimeoutError`` after ``timeout`` seconds.
        """
        resource_id = resource if isinstance(resource, str) else resource["id"]
        path = _path(resource_id)
        with following(resource_id, self.at) if resource_id.startswith("cert_") else nullcontext():
            document = ended(self._transport, path, on_change=on_change, timeout=timeout)
        if document.get("problem"):
            raise ProblemError(document["problem"])
        return document

    def results(self, certification_id: str) -> Iterator[Json]:
        """The results, one an input, in the order of the data set; streamed. Goes on after the last one where the
        service broke off."""
        path, headers = f"{_path(certification_id)}/results", {"Accept": "application/jsonl"}
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
        return self._object("GET", f"{_path(certification_id)}/curve", params=query)

    def report(self, certification_id: str) -> Json:
        """The bound that a ``lipschitz`` certification rests on, layer by layer; ``ProblemError`` (not-ready) before it
        is proved."""
        return self._object("GET", f"{_path(certification_id)}/report")

    def cancel(self, certification_id: str) -> Json:
        """End a certification; ``ProblemError`` (already-ended) if it has ended."""
        return self._object("POST", f"{_path(certification_id)}/cancel")

    def delete(self, resource_id: str, *, cascade: bool = False) -> Json:
        """Delete an upload, model, data set or certification: what went (``deleted``). A certification that has not
        ended is cancelled first.

        ``ProblemError`` (still-needed) names what needs it, in ``needed_by``; ``cascade``: that goes too.
        """
        if resource_id.startswith("key_"):
            raise ValueError(f"{resource_id} is a key, which is revoked (revoke_key, radii keys revoke)")
        return self._object("DELETE", _path(resource_id), params={"cascade": "true"} if cascade else {})

    def list(self, collection: str) -> Iterator[Json]:
        """All ``models``, ``datasets``, ``certifications`` or ``keys``, newest first; pages are fetched as they are
        needed."""
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
        return self._object("DELETE", _path(key_id), again=True)

    def ready(self) -> Json:
        """What /readyz says; ``ProblemError`` (unavailable) if a part is not reachable for ten seconds."""
        return self._object("GET", "/readyz", patience=min(PROBE, self._transport.patience))

    def _object(self, method: str, path: str, **request: Any) -> Json:
        document = self._transport.json(method, path, **request)
        if not isinstance(document, dict):
            raise ProblemError({"title": "Not an answer of radii", "detail": f"{method} {self.url}{path}"})
        return document


def _listed(values: Any) -> Any:
    """An array as nested lists."""
    return values.tolist() if hasattr(values, "tolist") else values


def _patience() -> float:
    text = os.environ.get("RADII_PATIENCE") or str(PATIENCE)
    if not re.fullmatch(r"\d{1,9}(\.\d+)?", text, re.ASCII):
        raise ValueError(f"RADII_PATIENCE is {text!r}; give seconds, e.g. 600")
    return float(text)


def _kept_key() -> str | None:
    folder = Path(os.environ.get("RADII_DATA_DIR") or DEFAULT_DATA_DIR).expanduser()
    try:
        return (folder / "api-key").read_text().strip() or None
    except OSError:
        return None


def _path(resource_id: str) -> str:
    collection = COLLECTIONS.get(resource_id.partition("_")[0])
    if collection is None or not resource_id.isascii() or not resource_id.replace("_", "").isalnum():
        raise ValueError(f"{resource_id!r} is no id; ids look like mdl_..., dat_..., cert_... and key_...")
    return f"/v1/{collection}/{resource_id}"


def _blocks(source: Path | str | bytes, size: int, on_bytes: OnBytes | None) -> Iterator[bytes]:
    sent = 0
    for block in _read(source):
        yield block
        sent += len(block)
        if on_bytes:
            on_bytes(sent, size)


def _read(source: Path | str | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield from (source[start : start + BLOCK] for start in range(0, len(source), BLOCK))
        return
    with Path(source).open("rb") as file:
        while block := file.read(BLOCK):
            yield block
