"""What the command says of a job that has failed."""

from pathlib import Path

import numpy as np

from tests.cli.conftest import DIGITS, Radii
from tests.service import Service


def test_a_failed_job_says_why_and_where(service: Service, radii: Radii, tmp_path: Path) -> None:
    x = np.load(DIGITS / "digits.npz")["x"][3:9] / 2  # no other test has them
    np.savez(tmp_path / "data.npz", x=x)
    with service.client() as client:
        model = client.wait(client.create_model(DIGITS / "digits.onnx", shape=[1, 8, 8]))
        dataset = client.wait(client.create_dataset(tmp_path / "data.npz"))
        arrays = [file for file in (service.data_dir / "blobs").glob("??/*") if file.read_bytes().endswith(x.tobytes())]
        (prepared,) = arrays
        prepared.write_bytes(prepared.read_bytes()[:200])
        job = client.create_certification(model["id"], dataset["id"], {"kind": "lipschitz"})["id"]
        followed = radii("jobs", job, "--wait")
        document = client.get(job)
    problem, (shard,) = document["problem"], document["shards"]["items"]
    assert followed.returncode == 1
    where = f"Where: shard {shard['id']}, worker {shard['worker']}, attempts 1, log {job}/{shard['id']}/1"
    for said in ("The stored data is damaged", problem["detail"], "What to do: Send the data set again", where):
        assert said in followed.stderr
    shown = radii("jobs", job)
    assert shown.returncode == 0 and where in shown.stderr
    (row,) = [line for line in shown.stdout.splitlines() if shard["id"] in line]
    assert all(cell in row for cell in ("failed", "0 to 5", "1", shard["worker"]))
    logs = "".join(file.read_text() for file in (service.data_dir / "logs").iterdir())
    assert f"[{problem['log']}] " in logs
