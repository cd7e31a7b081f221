"""A transformer of two layers as torch's exporter writes it: radii on its embeddings, against attacks."""

from pathlib import Path

import numpy as np
import pytest
import torch

from radii.attacks import attack_network
from radii.graph import read_onnx, to_module
from radii.local import certify
from tests.graph.build import onnxruntime_on_rows

FOLDER = Path(__file__).parents[1] / "data" / "transformer"
DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.npz"
RADII = {"random": 0.02, "trained": 0.01}  # of the first digit


@pytest.mark.parametrize("name", RADII)
def test_a_radius_on_the_embeddings(name: str) -> None:
    content = (FOLDER / f"{name}.onnx").read_bytes()
    graph = read_onnx(content)
    x = np.load(DIGITS)["x"][:1].reshape(1, 8, 8).astype(np.float64)
    module = to_module(graph, dtype=torch.float64)
    with torch.no_grad():
        logits = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(logits, onnxruntime_on_rows(content, x), rtol=1e-4, atol=1e-4)
    [result] = certify(graph, x, logits.argmax(1), effort="quick", target_radius=RADII[name])
    assert result.radius == RADII[name]
    attack = attack_network(
        module, torch.from_numpy(x[0]), prediction=int(logits.argmax()), radius=result.radius, steps=20
    )
    assert not attack.contradicted
    assert attack.distance is not None and attack.distance > result.radius
