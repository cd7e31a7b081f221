"""Whatever is killed, lost, doubled or full while jobs are submitted and run: each ends, with the counts of an
undisturbed run, and nothing is left over.

The short run is one of `make test`; `make chaos` runs the long one and prints its figures.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from operator import eq
from typing import Any

import pytest
from sqlalchemy import func, select

from models.blob_stores import stored
from models.database import Database
from models.housekeeping import tidy
from models.states import JobState
from models.tables import Certification, Chunk, Dataset, Model, Result, Upload
from radii.client import ClientError, ProblemError
from tests.chaos.faults import WEIGHTS, Faults
from tests.chaos.questions import Asker, Json, questions
from tests.chaos.servers import Broker, Postgres, RabbitMQ, Redis, server
from tests.chaos.site import Site
from tests.chaos.stores import Remote, Store
from tests.disk import Disk
from tests.reports import nearly
from tests.s3 import Bucket
from tests.service import until


@dataclass(frozen=True)
class Length:
    """How long a run is."""

    jobs: int
    faults: int
    between: float  # seconds between two faults, on average
    longest: float  # seconds that something is away, at most
    patience: float  # seconds for all jobs to end, faults and all
    kinds: tuple[str, ...] = tuple(WEIGHTS)  # of faults


SHORT = Length(jobs=7, faults=12, between=1.0, longest=2.0, patience=240)
LONG = Length(jobs=50, faults=210, between=2.0, longest=30.0, patience=3600)
LENGTHS = {
    "redis": LONG if os.environ.get("RADII_TEST_CHAOS") == "long" else SHORT,
    # It takes seconds to start, each time.
    "rabbitmq": Length(
        jobs=7,
        faults=8,
        between=1.0,
        longest=2.0,
        patience=240,
        kinds=("process", "broker_killed", "broker_flushed", "duplicates", "store_away"),
    ),
}
SEED = int(os.environ.get("RADII_TEST_CHAOS_SEED", "1"))


def asked(asker: Asker, question: Json) -> Json:
    """The certification of a question; where the answer to a request was lost there is another one."""
    while True:
        try:
            return asker.ask(question)
        except ProblemError as error:
            if error.document["status"] < 500:
                raise
        except ClientError:
            continue


def undisturbed(site: Site, asked_for: list[Json]) -> list[Json]:
    """The answers of an installation that nothing befalls."""
    with site.client() as client:
        asker = Asker(client)
        asker.prepare(site.logs)
        jobs = [asker.ask(question) for question in asked_for]
        return [asker.answer(client.wait(job)) for job in jobs]


def submit(site: Site, asked_for: list[Json], over: float, prepared: threading.Event) -> None:
    """Ask everything, spread over so many seconds."""
    with site.client() as client:
        asker = Asker(client)
        while True:
            with suppress(ClientError, TimeoutError):
                asker.prepare(site.logs)
                break
        prepared.set()
        for question in asked_for:
            asked(asker, question)
            time.sleep(over / len(asked_for))  # faults are to meet them at every stage, so time itself is spread


def differences(one: Any, other: Any, at: str = "") -> Iterator[str]:
    """Where two answers are not the same."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in one.keys() | other.keys():
            yield from differences(one.get(name), other.get(name), f"{at}.{name}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for place, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, f"{at}[{place}]")
    elif one != other:
        yield f"{at}: {one!r}, undisturbed {other!r}"


def key(document: Json) -> tuple[Any, ...]:
    """What tells two certifications apart, whatever their ids are."""
    method = {name: value for name, value in document["method"].items() if value is not None}
    return tuple(sorted(map(str, method.items()))), document["subset"]["start"], document["subset"]["stop"]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with server(Postgres) as started:
        yield started


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with server(Redis) as started:
        yield started


@pytest.fixture(scope="module")
def truth(postgres: Postgres, redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Json]:
    """The answers of an installation that nothing befalls."""
    calm = Site(tmp_path_factory.mktemp("calm") / "data", postgres.database("calm"), redis, postgres, clock=False)
    asked_for = questions(LENGTHS["redis"].jobs, SEED)
    try:
        answers = {repr(q): answer for q, answer in zip(asked_for, undisturbed(calm, asked_for), strict=True)}
    finally:
        calm.stop()
    assert all(answer["state"] == "succeeded" for answer in answers.values())
    return answers


def test_chaos_changes_no_answer_and_leaves_nothing_over(
    truth: dict[str, Json], redis: Redis, postgres: Postgres, disk: Disk, capsys: Any
) -> None:
    _survives(disk, redis, postgres, truth, LENGTHS["redis"], capsys)


def test_nor_does_it_on_rabbitmq_with_a_store_elsewhere(
    truth: dict[str, Json], postgres: Postgres, disk: Disk, bucket: Bucket, capsys: Any
) -> None:
    with server(RabbitMQ) as rabbitmq:
        _survives(disk, rabbitmq, postgres, truth, LENGTHS["rabbitmq"], capsys, Remote(bucket))


def _survives(
    disk: Disk,
    broker: Broker,
    postgres: Postgres,
    truth: dict[str, Json],
    length: Length,
    capsys: Any,
    store: Store | None = None,
) -> None:
    """Whatever happens, its answers are the truth, and nothing is left over."""
    disk.grow(200)
    asked_for = questions(length.jobs, SEED)
    begun = time.monotonic()
    (disk.folder / "radii").mkdir(mode=0o700)
    url = postgres.database(f"chaos_{broker.name.lower()}")
    site = Site(disk.folder / "radii", url, broker, postgres, clock=True, store=store)
    try:
        faults = _disturbed(site, disk, asked_for, length)
        left = _checked(site, asked_for, truth)
    finally:
        site.stop()
    until(site.strays, lambda strays: not strays)  # billiard's semaphore tracker ends once its parents have
    with capsys.disabled():
        print(f"\n{length.jobs} jobs, {sum(faults.values())} faults, seed {SEED}: {dict(sorted(faults.items()))}")
        print(f"on {broker.name} in {time.monotonic() - begun:.0f} s; {left}")


def _disturbed(site: Site, disk: Disk, asked_for: list[Json], length: Length) -> Counter[str]:
    """Ask everything while faults happen, and go on until all has ended."""
    prepared = threading.Event()
    over = length.faults * length.between / 2
    asking = threading.Thread(target=submit, args=(site, asked_for, over, prepared), daemon=True)
    asking.start()
    while not prepared.wait(0.2):
        site.tend()
    faults = Faults(
        site,
        disk,
        seed=SEED,
        kinds=length.kinds,
        count=length.faults,
        between=length.between,
        longest=length.longest,
    )
    faults.run()
    deadline = time.monotonic() + length.patience
    database = Database(site.settings.database)
    try:
        while asking.is_alive() or _open(database):
            assert time.monotonic() < deadline, f"still open: {_open(database)}"
            site.tend()
            faults.pause(0.2)
    finally:
        database.close()
    return faults.happened


def _open(database: Database) -> list[str]:
    with database.read() as session:
        query = select(Certification.id).where(Certification.state.in_((JobState.QUEUED, JobState.RUNNING)))
        return list(session.scalars(query))


def _checked(site: Site, asked_for: list[Json], truth: dict[str, Json]) -> str:
    """Everything that was accepted is right, and nothing is left over."""
    expected = {}
    with site.client() as client:
        asker = Asker(client)
        networks = {m["id"]: ("regressor" if m["task"] == "regressor" else "classifier") for m in client.list("models")}
        found: dict[Any, list[Json]] = {}
        for job in client.list("certifications"):
            found.setdefault((networks[job["model_id"]], key(client.get(job["id"]))), []).append(job)
        jobs = sum(map(len, found.values()))
        answers = {k: [asker.answer(client.get(job["id"])) for job in same] for k, same in found.items()}
    for question in asked_for:
        parts = {"start": question["start"], "stop": question["stop"]}
        expected[repr(question)] = (question["network"], question["method"], parts)
    for name, (network, method, parts) in expected.items():
        same = [
            answer
            for (net, (said, start, stop)), given in answers.items()
            if net == network
            and (start, stop) == (parts["start"], parts["stop"])
            and {str(item) for item in method.items()} <= set(said)
            for answer in given
        ]
        assert same, f"{name} was never asked"
        for answer in same:
            # A bound and a margin are rounded as the batch that they were computed in; counts are not.
            same_as = nearly if method["kind"] == "lipschitz" else eq
            assert same_as(answer, truth[name]), f"{name}: {[*differences(answer, truth[name])]}"
    return f"{jobs} certifications of {len(asked_for)} questions; {_left_over(site)}"


def _left_over(site: Site) -> str:
    """No chunk whose input has its result, no model in between, no draft, no blob that no row names."""
    database, blobs = Database(site.settings.database), stored(site.settings)
    try:
        tidy(database, blobs, None, grace=timedelta(0))  # what would be collected in ten minutes
        with database.read() as session:
            chunks = session.scalar(select(func.count()).select_from(Chunk))
            results = session.scalar(select(func.count()).select_from(Result))
            named = {*session.scalars(select(Upload.sha256))}
            for dataset in session.scalars(select(Dataset)):
                named |= {blob for name, blob in (dataset.summary or {}).items() if name.endswith("_blob") and blob}
            assert not [m for m in session.scalars(select(Model)) if m.state not in ("ready", "rejected")]
    finally:
        database.close()
    assert chunks == 0
    assert not [*blobs.drafts.iterdir()]
    assert {blob.sha256 for blob in blobs.all()} == named
    return f"{results} results"
