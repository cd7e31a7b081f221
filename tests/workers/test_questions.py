"""What an order asks about its inputs."""

from pathlib import Path

import numpy as np

from models.base import Json
from models.blobs import Blobs
from models.principal import DEFAULT_TENANT
from models.repositories.shards import Network, WorkOrder
from radii.smoothing import input_digest
from workers.questions import asked_of


def test_the_lease_can_be_kept_while_inputs_are_hashed(tmp_path: Path) -> None:
    """There may be gigabytes of them: whoever has the row is heard after each."""
    blobs, x = Blobs(tmp_path / "blobs"), np.arange(12, dtype=np.float32).reshape(6, 2)
    np.save(tmp_path / "x.npy", x)
    settings: Json = {"input": {"range": [0.0, 1.0]}}
    order = WorkOrder(
        certification_id="cert_1",
        tenant=DEFAULT_TENANT,
        method={"kind": "smoothing", "sigma": 0.25},
        model=Network("0" * 64, settings, {}, "1" * 64),
        denoiser=None,
        x_blob=blobs.adopt(tmp_path / "x.npy"),
        y_blob=None,
        inputs=6,
        grid=None,
        indices=[0, 2, 5],
        execution=None,
        executions=[],
        cross_check=[],
    )
    heard: list[None] = []
    asked = asked_of(order, order.indices, blobs, alive=lambda: heard.append(None))
    assert len(heard) == 1 + 3  # the file, which is compared with its digest, and each input
    assert asked.question.inputs == {index: input_digest(x[index]) for index in (0, 2, 5)}
