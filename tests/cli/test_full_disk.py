"""`radii up` on a disk of 14 MB that fills, and has space again."""

from datetime import datetime
from typing import Any

import psutil
import pytest
from sqlalchemy import select

from models.base import now
from models.bootstrap import bootstrap
from models.database import Database
from models.settings import Settings
from models.tables import Shard
from radii.client import Client, ClientError, ProblemError
from tests.cli.conftest import DIGITS
from tests.cli.test_up import up
from tests.disk import Disk
from tests.service import Service, command_line, running, until
from tests.workers.answers import truth
from tests.workers.harness import SECRET

INPUTS, N = 2, 300_000  # a second each
FLAGS = ("--noise-secret", SECRET, "--lease-seconds", "2")
PARTS = ("redis-server", "app.main", "--queues intake", "--queues certify")
LASTING = ("radii.cli up", *PARTS, "workers.runner")


def smoothing(client: Client) -> dict[str, Any]:
    """A certification that has begun."""
    model = client.wait(client.create_model(DIGITS / "digits.onnx", shape=[1, 8, 8]))
    dataset = client.wait(client.create_dataset(DIGITS / "digits.npz"))
    method = {"kind": "smoothing", "sigma": 0.25, "n": N}
    job = client.create_certification(model["id"], dataset["id"], method, subset=slice(0, INPUTS))
    return until(lambda: client.get(job["id"]), lambda job: job["progress"]["done"] > 0)


def leases(service: Service) -> list[datetime]:
    """When the leases on shards end."""
    database = Database(Settings(data_dir=service.data_dir).database)
    try:
        with database.read() as session:
            return [ends for ends in session.scalars(select(Shard.lease_expires_at)) if ends]
    finally:
        database.close()


def lasting(service: Service) -> dict[str, list[int]]:
    """The process ids of each part, by what its command line says."""
    family = {process.pid: command_line(process) for process in service.family()}
    return {name: [pid for pid, line in family.items() if name in line] for name in LASTING}


def refused(call: Any) -> bool:
    """Whether a call is refused for want of space."""
    with pytest.raises(ProblemError) as raised:
        call()
    return raised.value.slug == "storage-full"


def test_filled_amid_a_job_it_stays_up_and_ends_the_job_once_there_is_space(disk: Disk) -> None:
    with running(disk.folder / "data", *FLAGS) as service, service.client() as client:
        job = smoothing(client)
        before = lasting(service)
        assert all(before.values())
        disk.fill()
        # What was computed can't be written, nor the lease renewed.
        until(lambda: leases(service), lambda ends: bool(ends) and max(ends) < now())
        assert client.get(job["id"])["state"] == "running"
        question = {"kind": "lipschitz"}
        for call in (
            client.ready,
            lambda: client.upload(DIGITS / "digits.npz"),
            lambda: client.create_certification(job["model_id"], job["dataset_id"], question),
            lambda: client.create_certification(job["model_id"], None, question, inputs=[[[[0.5] * 8] * 8]]),
        ):
            assert refused(call)
        assert lasting(service) == before

        disk.empty()
        assert client.wait(job, timeout=60)["state"] == "succeeded"
        found = list(client.results(job["id"]))
        assert lasting(service) == before
        assert client.ready()["status"] == "ok"
    undisturbed = truth(INPUTS, N)
    assert [(one["prediction"], one["pilot_counts"], one["counts"]) for one in found] == [
        (prediction, pilot, counts) for prediction, _, pilot, counts in undisturbed
    ]


def test_parts_that_are_killed_on_a_full_disk_come_back_and_it_can_be_stopped(disk: Disk) -> None:
    with running(disk.folder / "data", *FLAGS) as service, service.client() as client:
        model = client.wait(client.create_model(DIGITS / "digits.onnx", shape=[1, 8, 8]))
        before = lasting(service)
        disk.fill()
        killed = [psutil.Process(pid) for name in PARTS for pid in before[name]]
        for process in killed:
            process.kill()
        psutil.wait_procs(killed, timeout=10)
        until(lambda: reads(client, model["id"]))
        assert refused(client.ready)

        disk.empty()
        dataset = client.wait(client.create_dataset(DIGITS / "digits.npz"), timeout=60)
        job = client.create_certification(model["id"], dataset["id"], {"kind": "lipschitz"}, subset=slice(0, 2))
        assert client.wait(job, timeout=60)["state"] == "succeeded"
        disk.fill()
    assert service.process.returncode == 0


def reads(client: Client, model_id: str) -> bool:
    """Whether the service answers a read."""
    try:
        return bool(client.get(model_id)["state"] == "ready")
    except ClientError:
        return False


@pytest.mark.parametrize("before", [False, True], ids=["anew", "again"])
def test_what_can_not_start_on_a_full_disk_says_so(disk: Disk, before: bool) -> None:
    data_dir = disk.folder / "data"
    if before:
        bootstrap(Settings(data_dir=data_dir))
    disk.fill()
    done = up("--port", "0", "--data-dir", str(data_dir))
    assert done.returncode == 1
    assert f"{data_dir} lies on a full disk. Free some space there" in done.stderr
    assert "Traceback" not in done.stderr
