from typing import Any

import numpy as np
import pytest
import torch

from radii.graph import UnsupportedModel, composed, normalized, read_onnx, to_module
from tests.graph.build import model, node, reference

SHAPE = (1, 8, 8)
BLUR = {"w": np.full((1, 1, 3, 3), 1 / 9, np.float32)}
HEAD = {"w": np.random.default_rng(0).standard_normal((64, 3)).astype(np.float32)}


def denoiser(**options: Any) -> bytes:
    return model([node("Conv", ["x", "w"], pads=[1, 1, 1, 1])], SHAPE, BLUR, **options)


def classifier() -> bytes:
    return model([node("Flatten", ["x"], "f"), node("MatMul", ["f", "w"])], SHAPE, HEAD)


@pytest.mark.parametrize("batch", ["batch", 1])
def test_a_denoiser_in_front_of_a_classifier_each_with_its_own_normalisation(batch: int | str) -> None:
    front = normalized(read_onnx(denoiser(batch=batch), task="denoiser"), 0.5, 2.0)
    behind = normalized(read_onnx(classifier()), 0.1, 0.3)
    both = composed(front, behind)
    x = np.random.default_rng(1).uniform(size=(4, *SHAPE)).astype(np.float32)
    rows = [reference(denoiser(batch=batch), (row[None] - np.float32(0.5)) / 2) for row in x]
    expected = reference(classifier(), ((np.concatenate(rows) - 0.1) / 0.3).astype(np.float32))
    found = to_module(both, dtype=torch.float64)(torch.from_numpy(x).double()).numpy()
    assert found == pytest.approx(expected, abs=1e-4)
    assert (both.num_classes, both.input_shape) == (3, SHAPE)
    assert len({both.digest, front.digest, behind.digest, composed(front, read_onnx(classifier())).digest}) == 4


def test_what_does_not_do_the_task_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="shape of its input"):
        read_onnx(classifier(), task="denoiser")
    with pytest.raises(UnsupportedModel, match="logits"):
        read_onnx(denoiser())
    small = model([node("Flatten", ["x"], "f"), node("MatMul", ["f", "w"])], (8, 8), HEAD)
    with pytest.raises(ValueError, match=r"\(8, 8\)"):
        composed(read_onnx(denoiser(), task="denoiser"), read_onnx(small))
