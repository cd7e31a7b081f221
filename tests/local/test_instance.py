"""Verdicts on properties whose answer is known: by closed form, by enumeration of regions, by sampling."""

import numpy as np
import pytest

from radii.graph import read_onnx
from radii.local.instance import verify
from radii.local.vnnlib import read_property
from tests.graph.build import onnxruntime_on_rows
from tests.local.truths import Chain, nearest_change

Array = np.ndarray


def written(x: Array, reach: float, label: int, classes: int) -> bytes:
    """As the families of images have it: a cube around x, and any other class."""
    lines = [f"(declare-const X_{i} Real)" for i in range(len(x))]
    lines += [f"(declare-const Y_{j} Real)" for j in range(classes)]
    for i, value in enumerate(x):
        lines += [f"(assert (>= X_{i} {value - reach:.17g}))", f"(assert (<= X_{i} {value + reach:.17g}))"]
    rivals = " ".join(f"(and (>= Y_{j} Y_{label}))" for j in range(classes) if j != label)
    return "\n".join([*lines, f"(assert (or {rivals}))"]).encode()


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 1.01, 1.2])
def test_a_cube_below_and_above_the_nearest_change(share: float) -> None:
    rng = np.random.default_rng(1)
    for _ in range(4):
        network, x = Chain.drawn((3, 4, 4, 3), rng), rng.normal(size=3)
        content = network.onnx()
        nearest, _ = nearest_change(network, x, "linf")
        if not np.isfinite(nearest):
            continue
        label = int(network([x])[0].argmax())
        prop = read_property(written(x, share * nearest, label, 3))

        def run(point: Array, content: bytes = content) -> Array:
            return onnxruntime_on_rows(content, point[None])[0].astype(np.float64)

        verdict = verify(read_onnx(content), prop, run)
        assert verdict.status == ("unsat" if share < 1 else "sat")
        if verdict.x is not None and verdict.y is not None:
            assert np.abs(verdict.x - x).max() <= share * nearest * (1 + 1e-6)
            assert verdict.y.argmax() != label or np.sort(verdict.y)[-1] == np.sort(verdict.y)[-2]


@pytest.mark.parametrize("share", [0.9, 0.99, 1.02])
def test_a_cube_of_many_inputs_is_cut_where_units_bend(share: float) -> None:
    rng = np.random.default_rng(4)
    network, x = Chain.drawn((12, 5, 5, 3), rng), rng.normal(size=12)
    nearest, _ = nearest_change(network, x, "linf")
    prop = read_property(written(x, share * nearest, int(network([x])[0].argmax()), 3))
    verdict = verify(read_onnx(network.onnx()), prop, lambda point: network([point])[0])
    assert verdict.status == ("unsat" if share < 1 else "sat")
    assert verdict.parts < 200  # of 2^12 there would be corners alone


def test_thresholds_and_conjunctions() -> None:
    """Outputs of an affine network over a box have closed forms: here 2 x0 - x1 in [-1, 2], x0 + x1 in [0, 2]."""
    network = Chain(((np.array([[2.0, -1.0], [1.0, 1.0]]), np.zeros(2)),))
    content = network.onnx()
    graph = read_onnx(content)
    declared = "".join(f"(declare-const {name} Real)" for name in ("X_0", "X_1", "Y_0", "Y_1"))
    box = "".join(f"(assert (>= X_{i} 0)) (assert (<= X_{i} 1))" for i in range(2))

    def status(text: str) -> str:
        prop = read_property((declared + box + text).encode())
        return verify(graph, prop, lambda x: onnxruntime_on_rows(content, x[None])[0].astype(np.float64)).status

    assert status("(assert (>= Y_0 2.001))") == "unsat"
    assert status("(assert (>= Y_0 1.99))") == "sat"
    assert status("(assert (<= Y_0 -1.001))") == "unsat"
    assert status("(assert (>= Y_0 1.5)) (assert (>= Y_1 1.5))") == "sat"  # at (1, 0.5) alone
    assert status("(assert (>= Y_0 1.6)) (assert (>= Y_1 1.5))") == "unsat"  # each of the two has inputs
    assert status("") == "sat"  # nothing is said of outputs
    assert status("(assert (>= (* 0.1 Y_0) 0.2001))") == "unsat"
    assert status("(assert (or (>= Y_0 2.1) (and (<= Y_1 0.1) (<= Y_0 -0.0))))") == "sat"
    assert status("(assert (<= X_0 -1)) (assert (<= Y_0 0))") == "unsat"  # no input at all


def test_another_number_of_inputs_is_said() -> None:
    network = Chain.drawn((3, 4, 3), np.random.default_rng(0))
    prop = read_property(written(np.zeros(2), 0.1, 0, 3))
    with pytest.raises(ValueError, match="of 2 inputs and 3 outputs, the network has 3 and 3"):
        verify(read_onnx(network.onnx()), prop, lambda x: x.astype(np.float64))


def test_a_budget_that_is_used_up_leaves_it_unknown() -> None:
    rng, first, last = np.random.default_rng(2), [], []
    for _ in range(5):
        network, x = Chain.drawn((2, 4, 4, 3), rng), rng.normal(size=2)
        reach = 0.9 * min(nearest_change(network, x, "linf")[0], 3.0)  # some have one class all over
        prop = read_property(written(x, reach, int(network([x])[0].argmax()), 3))
        graph = read_onnx(network.onnx())

        def run(point: Array, network: Chain = network) -> Array:
            return network([point])[0]

        first.append(verify(graph, prop, run, budget=1).status)
        last.append(verify(graph, prop, run).status)
    assert set(last) == {"unsat"} and set(first) == {"unsat", "unknown"}
