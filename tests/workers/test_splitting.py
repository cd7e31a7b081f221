"""Splitting noise on a shard: what the library counts, chunk by chunk, and an attack on every input that was drawn."""

from pathlib import Path

import numpy as np
import torch

from radii.graph import normalized, read_onnx, to_module
from radii.smoothing import Splitting, certify_splitting
from tests.workers.test_compute import MEAN, STD, probabilities_onnx, worked


def test_votes_of_all_offsets_in_chunks_and_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    file = probabilities_onnx(draw.standard_normal((6, 4)).astype(np.float32))
    x = (draw.integers(0, 256, (3, 6)) / np.float32(255)).astype(np.float32)
    sigma = 1.2  # 1060 offsets: two chunks
    order = {"grid": [0.0, 1.0]}
    problem, emitted = worked(tmp_path, file, x, order=order, kind="splitting", sigma=sigma)
    assert problem is None
    assert [(c["index"], c["number"], sum(c["counts"])) for c in emitted["chunk"]] == [
        (index, number, size) for index in range(3) for number, size in ((0, 1000), (1, 60))
    ]
    splitting = Splitting(sigma)
    network = to_module(normalized(read_onnx(file), MEAN, STD))
    for result, row in zip(emitted["result"], x, strict=True):
        found = certify_splitting(network, torch.from_numpy(row), num_classes=4, splitting=splitting)
        said = result["detail"]
        assert (result["prediction"], result["radius"]) == (found.prediction, found.radius)
        assert (said["counts"], said["n"]) == (list(found.counts), 1060)
        top = found.pilot_class
        assert top is not None
        leads = [found.counts[top] - votes - (j < top) for j, votes in enumerate(found.counts) if j != top]
        assert (said["steps"] or 0) == min(leads) // 2  # ties go to the lower class
        assert "attack" not in said or not said["attack"]["contradicted"]
    drawn = [r["index"] for r in emitted["result"] if "attack" in r["detail"]]
    assert drawn == [r["index"] for r in emitted["result"] if r["radius"] and r["index"] in (0, 2)] and drawn

    first = {**order, "chunks": emitted["chunk"][:3], "cross_check": []}
    problem, again = worked(tmp_path, file, x, order=first, kind="splitting", sigma=sigma)
    assert problem is None and again["chunk"] == emitted["chunk"][3:]
    answers = [[(r["radius"], r["detail"]["counts"]) for r in some["result"]] for some in (emitted, again)]
    assert answers[0] == answers[1]
