"""`radii delete` and `radii gc`, against the real service."""

import os
from pathlib import Path

import numpy as np

from tests.cli.conftest import DIGITS, Radii
from tests.service import Service


def test_what_is_needed_goes_with_cascade_alone_and_its_files_by_gc(
    service: Service, radii: Radii, tmp_path: Path
) -> None:
    x = np.load(DIGITS / "digits.npz")["x"][3:9] / 4  # no other test has them
    np.savez(tmp_path / "data.npz", x=x)
    with service.client() as client:
        model = client.wait(client.create_model(DIGITS / "digits.onnx", shape=[1, 8, 8]))
        dataset = client.wait(client.create_dataset(tmp_path / "data.npz"))
        job = client.create_certification(model["id"], dataset["id"], {"kind": "lipschitz"})
        client.wait(job)
    (prepared,) = [f for f in (service.data_dir / "blobs").glob("??/*") if f.read_bytes().endswith(x.tobytes())]
    sent = service.data_dir / "blobs" / dataset["sha256"][:2] / dataset["sha256"]
    refused = radii("delete", dataset["upload_id"])
    assert refused.returncode == 1
    assert f"1 data set and 1 certification need {dataset['upload_id']}" in refused.stderr
    assert "cascade" in refused.stderr
    done = radii("delete", "--cascade", dataset["upload_id"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{dataset['upload_id']} is deleted, and with it 1 data set, 1 certification"
    again = radii("delete", job["id"])
    assert (again.returncode, "there is no certification" in again.stderr) == (1, True)

    place = {} if service.database_url is None else {"RADII_DATABASE_URL": service.database_url}
    for file in (sent, prepared):
        os.utime(file, (0, 0))
    foreseen = radii("gc", "--dry-run", **place)
    assert foreseen.returncode == 0, foreseen.stderr
    assert foreseen.stdout.startswith("would remove ") and sent.exists() and prepared.exists()
    assert " stored file" in foreseen.stdout and "would remove 0 stored" not in foreseen.stdout
    assert radii("gc", **place).returncode == 0


def test_gc_where_no_service_is(radii: Radii, tmp_path: Path) -> None:
    done = radii("gc", RADII_DATA_DIR=str(tmp_path / "nothing"), RADII_DATABASE_URL="")
    assert done.returncode == 1
    assert "there is no database" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "nothing").exists()


def test_a_key_is_revoked_and_not_deleted(radii: Radii) -> None:
    done = radii("delete", "key_" + "0" * 32)
    assert done.returncode == 1 and "radii keys revoke" in done.stderr
