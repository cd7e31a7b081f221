"""Forms end at the first affine map, and nothing is lost there; what held on a larger ball is kept."""

import numpy as np
import pytest
import torch
from mpmath import mp, mpf

from radii.graph.ops.activation import Relu
from radii.graph.ops.elementwise import Add
from radii.local import Network, certify, margins
from radii.local.affine import first_map
from radii.local.bounds import Bounds
from radii.local.region import Region
from radii.local.slack import certified
from radii.norms import Norm
from tests.local.networks import chain, graph_of, linear, settled

NORMS: list[Norm] = ["l2", "linf", "l1"]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_no_form_is_above_its_exact_minimum_and_few_are_far_below(norm: Norm, scale: float) -> None:
    """At ``-eps ||A J||`` from the value at the centre, in 60 digits."""
    rng = np.random.default_rng(21)
    network = Network.of(chain(rng, (30, 6, 3)))
    arrays = network.graph.nodes[0].operator.arrays()
    found = first_map(network)
    assert found is not None and found.name == network.graph.nodes[0].output and found.factor is not None
    x, eps = rng.standard_normal((2, 30)), np.array([0.3, 1e-3])
    forms = rng.standard_normal((2, 5, 6)) * scale
    forms[:, 0] = 0.0
    with certified(network.device), torch.no_grad():
        region = Region.ball(torch.from_numpy(x), torch.from_numpy(eps), norm)
        bounds = Bounds(network, region).forward()
        least = bounds.least(found.name, torch.from_numpy(forms)).numpy()
    with mp.workdps(60):
        weight = mp.matrix(arrays["weight"].astype(float).tolist())
        for i in range(2):
            at = weight * mp.matrix(x[i].tolist()) + mp.matrix(arrays["bias"].astype(float).tolist())
            for r in range(5):
                form = mp.matrix([forms[i, r].tolist()])
                row = [abs(entry) for entry in form * weight]
                dual = {"l2": mp.sqrt(sum(e**2 for e in row)), "linf": sum(row), "l1": max(row)}[norm]
                exact = (form * at)[0] - mpf(eps[i]) * dual
                size = sum(abs(a * b) for a, b in zip(form, at, strict=True)) + mpf(eps[i]) * dual
                assert mpf(least[i, r]) <= exact
                assert exact - mpf(least[i, r]) <= mpf(1e-10) * size + mpf(2.0**-490)


@pytest.mark.parametrize("norm", NORMS)
def test_it_says_what_forms_on_the_input_say(norm: Norm) -> None:
    rng = np.random.default_rng(22)
    for graph in (chain(rng, (40, 12, 10, 4)), chain(rng, (5, 12, 4))):
        network = Network.of(graph)
        x = torch.from_numpy(rng.standard_normal((3, *graph.input_shape)))
        with certified(network.device), torch.no_grad():
            bounds = Bounds(network, Region.ball(x, torch.full((3,), 0.1, dtype=torch.float64), norm)).forward()
            forms = torch.from_numpy(rng.standard_normal((3, 4, 4)))
            output = network.relaxed.output
            short, long = bounds.least(output, forms), bounds.least(output, forms, trace={})
        np.testing.assert_allclose(short.numpy(), long.numpy(), rtol=1e-9, atol=1e-9)


def test_where_two_activations_are_read_there_is_none() -> None:
    rng = np.random.default_rng(23)
    branches = [(linear(rng, 9, 4), ("x",), "a"), (linear(rng, 9, 4), ("x",), "b")]
    bends = [(Relu(), ("a",), "c"), (Relu(), ("b",), "d"), (Add(), ("c", "d"), "e"), (linear(rng, 4, 3), ("e",), "y")]
    assert first_map(Network.of(graph_of((9,), [*branches, *bends]))) is None


@pytest.mark.parametrize("norm", NORMS)
def test_what_holds_on_a_larger_ball_gives_no_smaller_bounds(norm: Norm) -> None:
    """Intervals of the larger ball hold on the smaller one, where they are sharpened, or taken as they are."""
    rng = np.random.default_rng(24)
    network = Network.of(chain(rng, (8, 16, 16, 4)))
    x = torch.from_numpy(rng.standard_normal((3, 8)))
    forms = torch.from_numpy(rng.standard_normal((3, 4, 4)))
    with certified(network.device), torch.no_grad():
        sizes = [torch.full((3,), eps, dtype=torch.float64) for eps in (0.2, 0.19)]
        large = Bounds(network, Region.ball(x, sizes[0], norm)).forward()
        region = Region.ball(x, sizes[1], norm)
        plain = Bounds(network, region).forward()
        kept = Bounds(network, region, outer=large.intervals).forward()
        taken = Bounds(network, region, outer=large.intervals, sharpen=False).forward()
        for name in network.bent:
            assert bool((kept.intervals[name].lo >= large.intervals[name].lo).all())
            assert bool((taken.intervals[name].hi <= large.intervals[name].hi).all())
        least = [made.least(network.relaxed.output, forms) for made in (large, taken, kept, plain)]
    assert bool((least[1] >= least[0] - 1e-12).all())
    np.testing.assert_allclose(least[2].numpy(), least[3].numpy(), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("norm", NORMS)
def test_a_radius_is_the_largest_that_single_questions_prove(norm: Norm) -> None:
    """Of single questions no ball is larger than another one, so nothing is kept between them."""
    rng = np.random.default_rng(25)
    graph = chain(rng, (12, 16, 16, 4))
    x, labels = settled(graph, rng, 4)
    radii = np.array([result.radius for result in certify(graph, x, labels, norm=norm, effort="quick")])
    below, above = (margins(graph, x, labels, radii * share, norm=norm).min(1) for share in (0.997, 1.003))
    assert (below > 0).all() and (above <= 0).all()


def test_a_radius_does_not_depend_on_the_batch() -> None:
    rng = np.random.default_rng(26)
    graph = chain(rng, (12, 16, 16, 4))
    x, labels = settled(graph, rng, 6)
    together = [result.radius for result in certify(graph, x, labels, effort="quick")]
    alone = [certify(graph, x[[i]], labels[[i]], effort="quick")[0].radius for i in range(6)]
    np.testing.assert_allclose(together, alone, rtol=1e-9)
