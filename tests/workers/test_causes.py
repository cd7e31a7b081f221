"""Faults amid real work: each fails its job, or its attempt, with the cause that it has."""

import re
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import create_engine, text

from models.base import Base
from models.database import Database
from models.repositories import intake
from models.states import TERMINAL
from models.tables import Certification, Dataset, Model
from tests.graph.build import model, node
from tests.service import own_database
from tests.workers.answers import done, said, shards, truth
from tests.workers.harness import EXAMPLES, Service, installation, wait_for

LONG: dict[str, Any] = {"kind": "smoothing", "sigma": 0.25, "n": 300_000}  # an input is a shard of about a second
SHORT: dict[str, Any] = {"kind": "smoothing", "sigma": 0.25, "n": 2500}
STALL_SECONDS = 4.0  # less than a runner takes to start on a busy machine, which nobody may mistake for a hang
RUNNER = "workers.runner"
Digits = tuple[str, str]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs") / "worker.log"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, redis_socket: Path, log: Path) -> Iterator[Service]:
    """One for all cases, with a worker."""
    folder = tmp_path_factory.mktemp("radii")
    url = f"sqlite:///{folder / 'radii.sqlite'}"
    database = Database(url)
    Base.metadata.create_all(database.engine)
    database.close()
    with installation(folder / "data", url, redis_socket, stall_seconds=STALL_SECONDS) as service:
        service.start(log)
        yield service


@pytest.fixture(scope="module")
def digits(service: Service) -> Digits:
    return service.known_model(EXAMPLES / "digits.onnx"), service.known_dataset(EXAMPLES / "digits.npz")


def problem(service: Service, job: str) -> dict[str, Any]:
    """Of a job that has failed in its first attempt: it says where."""
    row = service.wait(Certification, job, *TERMINAL)
    assert row.state == "failed"
    [shard] = shards(service, job)
    assert (shard.state, shard.fence) == ("failed", 1)
    where = {"shard": shard.id, "worker": shard.worker, "attempts": 1, "log": f"{job}/{shard.id}/1"}
    assert row.problem.items() >= where.items()
    return dict(row.problem)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


FAULTS = [
    ("x_blob", cut, "data-unreadable", "the prepared inputs"),
    ("x_blob", flip, "data-unreadable", "the prepared inputs"),
    ("x_blob", Path.unlink, "file-missing", "the prepared inputs"),
    ("y_blob", flip, "data-unreadable", "the prepared labels"),
    ("model", cut, "model-unreadable", "the model"),
    ("model", flip, "model-unreadable", "the model"),
    ("model", Path.unlink, "file-missing", "the model"),
]


@pytest.mark.parametrize(("what", "damage", "slug", "named"), FAULTS)
def test_a_stored_file_that_is_not_what_it_was_fails_the_job(
    service: Service, digits: Digits, what: str, damage: Callable[[Path], None], slug: str, named: str
) -> None:
    network, data = (service.get(table, row_id) for table, row_id in zip((Model, Dataset), digits, strict=True))
    sha256 = network.upload.sha256 if what == "model" else data.summary[what]
    file = service.blobs.path(sha256)
    whole = file.read_bytes()
    damage(file)
    try:
        found = problem(service, service.certify(*digits, 1, **SHORT))
    finally:
        file.write_bytes(whole)
    assert found["type"] == f"/problems/{slug}"
    assert f"the file of {named} (blobs/{sha256[:2]}/{sha256} in DATA_DIR)" in found["detail"]
    done(service, job := service.certify(*digits, 1, **SHORT))
    assert said(service, job) == truth(1, SHORT["n"])
    # the same bytes, sent again, are taken in anew
    if slug != "data-unreadable":
        assert service.get(Model, digits[0]).fingerprint.endswith(digits[0])
    if slug != "model-unreadable":
        assert service.get(Dataset, digits[1]).fingerprint.endswith(digits[1])


@pytest.mark.parametrize(("damage", "slug"), [(cut, "data-unreadable"), (Path.unlink, "file-missing")])
def test_an_upload_that_is_not_what_it_was_is_rejected_as_that(
    service: Service, damage: Callable[[Path], None], slug: str
) -> None:
    with service.database.write() as session:
        upload = service.upload(session, b"PK" + bytes(1000) + slug.encode())
    damage(service.blobs.path(upload.sha256))
    with service.database.write() as session:
        dataset = intake.add_dataset(session, session.merge(upload), name="d")[0].id
    row = service.wait(Dataset, dataset, "ready", "rejected")
    assert row.problem["type"] == f"/problems/{slug}"
    assert row.problem.items() >= {"worker": row.worker, "attempts": 1, "log": f"{dataset}/1"}.items()


def test_a_runner_that_is_stopped_is_ended_and_its_shard_goes_on(service: Service, digits: Digits, log: Path) -> None:
    begun = log.stat().st_size
    job = service.certify(*digits, 2, **LONG)
    service.halfway(job)
    runner = service.child(RUNNER)
    assert runner is not None
    runner.suspend()
    lost = wait_for(lambda: [shard for shard in shards(service, job) if shard.cause])[0]
    assert lost.cause["type"] == "/problems/stalled"
    assert re.search(r"made no progress for \d+ s while [a-z ]+, and was ended \(memory at most", lost.cause["detail"])
    assert lost.cause["log"] == f"{job}/{lost.id}/1"
    assert not runner.is_running()
    done(service, job)
    assert said(service, job) == truth(2, LONG["n"])

    lines = log.read_text()[begun:].splitlines()
    ours = [line for line in lines if re.search(r" (INFO|WARNING|ERROR) (workers|radii|models)\.", line)]
    assert all(re.search(r"\[cert_\w+(/shd_\w+)?/\d+\] ", line) for line in ours)  # the end of the last job's, too
    about = [line for line in ours if f"[{lost.cause['log']}] " in line]
    assert "begun by" in about[0] and any("made no progress" in line for line in about)


def test_short_of_memory_is_called_that(service: Service, digits: Digits, tmp_path: Path) -> None:
    """A million activations a sample, in a runner whose address space may not grow by those of a batch."""
    arrays = {
        "s": np.array([-1, 64, 1]),
        "a": np.array([1]),
        "w": np.ones((1, 2**14), np.float32),
        "v": np.ones((2**14, 10), np.float32),
    }
    nodes = [node("Reshape", ["x", "s"], "f"), node("MatMul", ["f", "w"], "h")]
    nodes += [node("ReduceMean", ["h", "a"], "m", keepdims=0), node("MatMul", ["m", "v"])]
    (tmp_path / "wide.onnx").write_bytes(model(nodes, (1, 8, 8), arrays))
    network = service.known_model(tmp_path / "wide.onnx")
    done(service, service.certify(*digits, 1, **SHORT | {"sigma": 0.35}))
    runner = service.child(RUNNER)  # warm
    assert runner is not None
    most = runner.memory_info().vms + 2**25
    resource.prlimit(runner.pid, resource.RLIMIT_AS, (most, most))
    found = problem(service, service.certify(network, digits[1], 1, **SHORT))
    assert found["type"] == "/problems/out-of-memory"
    assert "Memory ran out while " in found["detail"]


def test_the_database_is_waited_for_amid_a_shard(postgresql_server: str, redis_socket: Path, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    server = create_engine(postgresql_server, isolation_level="AUTOCOMMIT")
    with own_database(postgresql_server) as url:
        database = Database(url)
        Base.metadata.create_all(database.engine)
        database.close()
        with installation(tmp_path / "data", url, redis_socket) as service, server.connect() as connection:
            name = database.engine.url.database
            model, data = service.known_model(EXAMPLES / "digits.onnx"), service.known_dataset(EXAMPLES / "digits.npz")
            job = service.certify(model, data, 1, **LONG)
            service.start(log)
            service.halfway(job)
            connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"), {"name": name}
            )
            wait_for(lambda: "the database does not answer" in log.read_text())
            connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
            done(service, job)
            assert said(service, job) == truth(1, LONG["n"])
            [shard] = shards(service, job)
            assert (shard.fence, shard.cause) == (1, None)
    server.dispose()
