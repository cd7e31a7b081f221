"""`radii certify`, `predict` and `median`: upload, wait for intake, certify, show and keep the results."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from radii.cli.connection import before_it_started, connected, outliving_us
from radii.cli.console import err, fail, out, plain, print_json
from radii.cli.npy import input_shape
from radii.cli.progress import progress
from radii.cli.report import print_report, print_results, save_results
from radii.client import Cancelled, Client
from radii.methods import kind_of, parse_method

Json = dict[str, Any]


def command(
    model: str,
    data: str,
    method: Json,
    *,
    denoiser: str | None,
    settings: Json,
    subset: slice | None,
    url: str | None,
    output: Path | None,
    as_json: bool,
    priority: int | None = None,
) -> None:
    """Do what the command line says. Ends with exit code 2 if that can't be right. Where there is no
    curve, inputs are shown one by one."""
    question = checked(method)
    for given in (model, data, denoiser):
        if given is not None and not is_id(given) and not Path(given).is_file():
            fail(f"there is no file {given}", code=2)
    with connected(url) as client:
        with before_it_started():
            job = start(
                client, model, data, question, denoiser=denoiser, settings=settings, subset=subset, priority=priority
            )
        with outliving_us(client, job["id"]):
            job = follow(client, job)
            if job["state"] == "cancelled":  # the results that there are would look like all
                raise Cancelled(job["id"], client.at)
            _show(client, job, output, as_json)


def _show(client: Client, job: Json, output: Path | None, as_json: bool) -> None:
    if output is not None:
        save_results(client, job["id"], output)
    one_by_one = kind_of(job["method"]).no_curve is not None
    if as_json:
        rows = {"results": list(client.results(job["id"]))} if one_by_one else {}
        print_json({**job, **(rows or {"curve": client.curve(job["id"])})})
    else:
        if one_by_one:
            print_results(client.results(job["id"]))
        print_report(client, job)
        kept = "" if output is None else f"Every input: {plain(str(output))}   "
        out.print(f"{kept}The job: {job['id']}", soft_wrap=True)


def start(
    client: Client,
    model: str,
    data: str,
    method: BaseModel,
    *,
    denoiser: str | None = None,
    settings: Mapping[str, Any],
    subset: slice | None = None,
    priority: int | None = None,
) -> Json:
    """Files or ids in, a certification that has been started out.

    ``settings`` are those of ``Client.create_model``; without a shape it is that of the data.
    """
    dataset = send_dataset(client, data)
    if "shape" not in settings and not is_id(model):
        shape = taken_in(client, dataset, "data set")["summary"]["shape"] if is_id(data) else input_shape(Path(data))
        settings = {**settings, "shape": shape}
    sent = send_model(client, model, **settings)
    sent = taken_in(client, sent, "model")
    taken_in(client, dataset, "data set")
    front = None
    if denoiser is not None:
        given = sent["input"]
        front = send_model(client, denoiser, shape=given["shape"], range=given["range"], task="denoiser")["id"]
        taken_in(client, client.get(front), "denoiser")
    return client.create_certification(
        sent["id"],
        dataset["id"],
        method,
        subset=subset,
        denoiser_model_id=front,
        priority=priority,
        interactive=True,  # whoever types a command waits for it
    )


def is_id(text: str) -> bool:
    """Whether ``text`` names something that the service has already."""
    return text.startswith(("mdl_", "dat_")) and not Path(text).exists()


def send_model(client: Client, file_or_id: str, **settings: Any) -> Json:
    """The model of that id, or a new one of that file (``settings``: as ``Client.create_model``)."""
    if is_id(file_or_id):
        return client.get(file_or_id)
    with progress(f"uploading {Path(file_or_id).name}", "bytes") as advance:
        return client.create_model(file_or_id, **settings, on_bytes=advance)


def send_dataset(client: Client, file_or_id: str) -> Json:
    """The data set of that id, or a new one of that file."""
    if is_id(file_or_id):
        return client.get(file_or_id)
    with progress(f"uploading {Path(file_or_id).name}", "bytes") as advance:
        return client.create_dataset(file_or_id, on_bytes=advance)


def taken_in(client: Client, resource: Json, noun: str) -> Json:
    """The resource once intake has accepted it. Raises ``ProblemError`` if it was rejected."""
    with err.status(f"checking the {noun}"):
        return client.wait(resource)


def follow(client: Client, job: Json) -> Json:
    """The certification once it has ended, its progress shown. Raises ``ProblemError`` if it has failed."""
    with progress(_doing(job["method"]), job["progress"]["unit"]) as advance:
        return client.wait(job, on_change=lambda now: advance(now["progress"]["done"], now["progress"]["total"]))


def _doing(method: Json) -> str:
    return kind_of(method).doing or f"certifying ({method['kind']})"


def checked(question: Json) -> BaseModel:
    """The method that ``question`` describes. Ends with exit code 2 if it can't be right."""
    try:
        return parse_method(question)
    except ValidationError as error:
        fail("\n".join(_in_words(question["kind"], one) for one in error.errors()), code=2)


def _in_words(kind: str, error: Any) -> str:
    flag = "--" + str(error["loc"][-1]).replace("_", "-")
    if error["type"] == "missing":
        return f"{kind} needs {flag}"
    if error["type"] == "extra_forbidden":
        return f"{flag} does not belong to {kind}"
    message = error["msg"].removeprefix("Value error, ")
    return message if len(error["loc"]) == 1 else f"{flag}: {message}"
