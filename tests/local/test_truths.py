"""The truths that local certificates are held against, held against closed forms and brute force themselves."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from radii.graph import read_onnx, to_module
from radii.norms import Norm
from tests.graph.build import onnxruntime_on_rows, relative_gap
from tests.local.truths import DUALS, ORDERS, Chain, nearest_change, nearest_found, nearest_in

NORMS: tuple[Norm, ...] = ("l2", "linf", "l1")


def least_margin(network: Chain, x: np.ndarray, label: int) -> np.ndarray:
    """(N,) over the other classes."""
    logits = network(x)
    return logits[:, label] - np.delete(logits, label, axis=1).max(1)


@pytest.mark.parametrize("norm", NORMS)
def test_of_a_linear_classifier_it_is_the_margin_over_the_dual_norm(norm: Norm) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        network, x = Chain.drawn((7, 4), rng), rng.normal(size=7)
        [(weight, _)] = network.layers
        [logits] = network([x])
        y = int(logits.argmax())
        rivals = [j for j in range(4) if j != y]
        expected = min((logits[y] - logits[j]) / np.linalg.norm(weight[y] - weight[j], DUALS[norm]) for j in rivals)
        assert nearest_change(network, x, norm)[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("slope", [0.0, 0.2, -1.0])
def test_on_a_line_it_is_the_first_root_of_the_margin(slope: float) -> None:
    """Roots between the places of a grid are missed by the grid only where two lie within 1e-4 of each other."""
    rng, changes = np.random.default_rng(2), 0
    steps = np.linspace(-4, 4, 80_001)
    for _ in range(16):
        network, x = Chain.drawn((1, 5, 4, 3), rng, slope), rng.normal(size=1)
        label = int(network([x])[0].argmax())
        found, change = nearest_change(network, x, "l2")
        margins = least_margin(network, x + steps[:, None], label)
        roots = [
            abs(brentq(lambda t, x=x, f=network, y=label: least_margin(f, x[None] + t, y)[0], a, b, xtol=1e-14))
            for a, b in ((steps[i], steps[i + 1]) for i in np.nonzero((margins[1:] > 0) != (margins[:-1] > 0))[0])
        ]
        if roots:
            changes += 1
            assert change is not None and found == pytest.approx(min(roots), abs=1e-9)
        else:
            assert found > 4
        for norm in NORMS:
            assert nearest_change(network, x, norm)[0] == pytest.approx(found, rel=1e-9)
    assert changes > 8


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("widths", [(2, 6, 3), (2, 4, 4, 4, 3)])
def test_in_the_plane_no_ray_comes_nearer_and_one_comes_near(norm: Norm, widths: tuple[int, ...]) -> None:
    rng, changes = np.random.default_rng(3), 0
    angles = np.linspace(0, 2 * np.pi, 1001)
    rays = np.stack([np.cos(angles), np.sin(angles)], 1)
    rays /= np.linalg.norm(rays, ORDERS[norm], axis=1, keepdims=True)
    for _ in range(6):
        network, x = Chain.drawn(widths, rng), rng.normal(size=2)
        label = int(network([x])[0].argmax())
        found, change = nearest_change(network, x, norm)
        if change is None:
            far = x + 1e3 * rays
            assert (least_margin(network, far, label) > 0).all()
            continue
        changes += 1
        assert np.linalg.norm(change - x, ORDERS[norm]) == pytest.approx(found, rel=1e-9)
        assert abs(least_margin(network, change[None], label)[0]) < 1e-9
        lengths = found * np.linspace(0, 2, 201)
        margins = np.stack([least_margin(network, x + rays * length, label) for length in lengths])
        crossed = lengths[(margins <= 0).any(1)]
        assert found * (1 - 1e-9) <= crossed.min() <= found * 1.02
        assert least_margin(network, x + rays * found * (1 - 1e-9), label).min() > 0
    assert changes >= 4


def test_pruning_leaves_out_no_region() -> None:
    """Against every pattern of 12 units by itself, in five dimensions."""
    rng = np.random.default_rng(4)
    network, x = Chain.drawn((5, 4, 4, 4, 3), rng), rng.normal(size=5)
    label = int(network([x])[0].argmax())
    nearest = np.inf
    for pattern in product((0.0, 1.0), repeat=network.units):
        slopes, offset, at = np.eye(5), x, 0
        G, h = np.zeros((0, 5)), np.zeros(0)
        for i, (weight, bias) in enumerate(network.layers):
            if i:
                on = np.array(pattern[at : at + len(offset)])
                at += len(offset)
                G, h = np.vstack([G, (2 * on - 1)[:, None] * slopes]), np.append(h, -(2 * on - 1) * offset)
                slopes, offset = on[:, None] * slopes, on * offset
            slopes, offset = weight @ slopes, weight @ offset + bias
        for j in {0, 1, 2} - {label}:
            rows, limits = np.vstack([G, slopes[j] - slopes[label]]), np.append(h, offset[label] - offset[j])
            nearest = min(nearest, nearest_in(rows, limits, "l2")[0])
    assert nearest_change(network, x, "l2")[0] == pytest.approx(nearest, rel=1e-10)


@pytest.mark.parametrize("norm", NORMS)
def test_the_search_finds_nothing_nearer_than_the_nearest_and_mostly_finds_it(norm: Norm) -> None:
    rng, near = np.random.default_rng(5), 0
    for seed in range(8):
        network, x = Chain.drawn((6, 5, 5, 4), rng), rng.normal(size=6)
        module = to_module(read_onnx(network.onnx()), dtype=torch.float64)
        truth, _ = nearest_change(network, x, norm)
        found = nearest_found(module, x, int(network([x])[0].argmax()), norm, 1.5 * truth, seed=seed)
        assert found is None or found >= truth * (1 - 1e-9)
        near += found is not None and found < 1.05 * truth
    assert near >= 6


@pytest.mark.parametrize("slope", [0.0, 0.25, -1.0])
def test_the_file_computes_the_same(slope: float) -> None:
    rng = np.random.default_rng(6)
    network = Chain.drawn((3, 5, 4, 3), rng, slope)
    x = rng.normal(size=(50, 3)).astype(np.float32)
    assert relative_gap(onnxruntime_on_rows(network.onnx(), x), network(x).astype(np.float32)) < 1e-5


def test_a_tie_has_no_distance() -> None:
    network = Chain(((np.eye(2), np.zeros(2)),))
    assert nearest_change(network, [1.0, 1.0], "l2")[0] == 0.0
