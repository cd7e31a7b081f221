"""Intake whose blobs lie on a disk of 14 MB, the database elsewhere: it waits while others fill the disk, and refuses
what doesn't fit; neither leaves anything."""

import io
import os
from typing import Any

import numpy as np
import pytest

from models.tables import Dataset, Model
from tests.disk import Disk
from tests.workers.answers import done, said, shards, truth
from tests.workers.harness import EXAMPLES, Service, wait_for

pytestmark = pytest.mark.parametrize("empty_database_url", ["sqlite"], indirect=True)  # it is about the blobs

BIG = np.zeros((2, 2**20), "<f4")  # 8 MiB, unpacked once, and written again as float32


def npz(x: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, x=x)
    return file.getvalue()


@pytest.mark.parametrize("table", [Model, Dataset])
def test_intake_waits_while_the_disk_is_full(disk: Disk, service: Service, table: type[Any]) -> None:
    if table is Model:
        row_id = service.add_model((EXAMPLES / "digits.onnx").read_bytes())
    else:
        row_id = service.add_dataset(npz(BIG[:, :4]))
    disk.fill()
    service.start()
    wait_for(lambda: service.get(table, row_id).attempts == 1)
    leased = service.get(table, row_id).lease_expires_at
    wait_for(lambda: service.get(table, row_id).lease_expires_at > leased)
    assert service.get(table, row_id).state == "validating"

    disk.empty()
    row = service.wait(table, row_id, "ready", "rejected")
    assert (row.state, row.attempts) == ("ready", 1), row.problem
    assert list(service.blobs.drafts.iterdir()) == []


def test_a_data_set_that_does_not_fit_is_refused_and_taken_where_there_is_space(disk: Disk, service: Service) -> None:
    content = npz(BIG)
    service.start()
    row = service.wait(Dataset, service.add_dataset(content), "ready", "rejected")
    assert (row.state, row.problem["type"]) == ("rejected", "/problems/storage-full")
    assert list(service.blobs.drafts.iterdir()) == []
    disk.grow(64)
    row = service.wait(Dataset, service.add_dataset(content), "ready", "rejected")
    assert row.state == "ready", row.problem


def test_a_runner_starts_once_there_is_space_for_its_folder(
    disk: Disk, service: Service, digits: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = disk.folder / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    job = service.certify(*digits, 1, kind="smoothing", sigma=0.25, n=2500)
    disk.bear_no_new_file()
    service.start()
    wait_for(lambda: [shard.attempts for shard in shards(service, job)] == [1])
    leased = shards(service, job)[0].lease_expires_at
    assert leased is not None
    wait_for(lambda: (shards(service, job)[0].lease_expires_at or leased) > leased)
    assert [shard.attempts for shard in shards(service, job)] == [1]

    disk.bear_no_new_file(False)
    done(service, job)
    assert said(service, job) == truth(1, 2500)
    assert (temporary / f"radii-compiled-{os.getuid()}").is_dir()
