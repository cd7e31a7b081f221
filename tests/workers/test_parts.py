"""A part of an input is the very chunks that whoever computes all of it counts, and nothing else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.workers.test_compute import probabilities_onnx, worked

ASKED: list[tuple[str, int, dict[str, Any]]] = [
    ("estimate", 4500, {"kind": "smoothing", "sigma": 0.25, "n": 4500, "cross_check": 0}),
    ("predict", 4500, {"kind": "prediction", "sigma": 0.25, "n": 4500}),
    ("split", 4417, {"kind": "splitting", "sigma": 5.0, "cross_check": 0}),
]


@pytest.mark.parametrize(("stage", "samples", "method"), ASKED)
def test_parts_are_the_chunks_of_the_whole(tmp_path: Path, stage: str, samples: int, method: dict[str, Any]) -> None:
    draw = np.random.default_rng(0)
    file = probabilities_onnx(draw.standard_normal((6, 4)).astype(np.float32))
    x = (draw.integers(0, 256, (1, 6)) / np.float32(255)).astype(np.float32)
    plain = {"grid": [0.0, 1.0], "execution": {"executor": "torch", "batch_size": 7}}
    problem, whole = worked(tmp_path, file, x, order=plain, **method)
    assert problem is None
    counted = [chunk for chunk in whole["chunk"] if chunk["stage"] == stage]
    assert [chunk["number"] for chunk in counted] == [0, 1, 2, 3, 4]
    found = []
    for first, stop in ((3, 5), (0, 3)):
        part = {"stage": stage, "first": first, "stop": stop, "samples": samples}
        problem, some = worked(tmp_path, file, x, order=plain | {"part": part}, **method)
        assert problem is None and some["result"] == []
        found += some["chunk"]
    assert sorted(found, key=lambda chunk: chunk["number"]) == counted

    known = {"chunks": found}
    problem, together = worked(tmp_path, file, x, order=plain | known, **method)
    assert problem is None and [chunk for chunk in together["chunk"] if chunk["stage"] == stage] == []
    (one,), (other,) = whole["result"], together["result"]
    one["detail"].pop("seconds"), other["detail"].pop("seconds")
    assert one == other
