"""First layers of many inputs, and what a rule may cost."""

import mpmath
import numpy as np
import pytest
import torch
from torch import nn

from radii.graph import to_module
from radii.lipschitz import network_bound
from radii.lipschitz.network.effort import Effort
from radii.lipschitz.network.linear import NotApplicable
from radii.lipschitz.network.narrow import narrowed
from tests.lipschitz.network.sharp import relu_graph, steepest_jacobians
from tests.lipschitz.network.test_bound import graph_of


def least_eigenvalue(factor: np.ndarray, matrix: np.ndarray) -> mpmath.mpf:
    """Of ``L L^T - W W^T``, relative to the trace of the latter, in 60 digits."""
    with mpmath.workdps(60):
        left, right = mpmath.matrix(factor.tolist()), mpmath.matrix(matrix.tolist())
        gram = right * right.T
        values = mpmath.eigsy(left * left.T - gram, eigvals_only=True)
        return min(values) / sum(gram[i, i] for i in range(gram.rows))


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_a_square_factor_is_never_below_and_hardly_above(scale: float) -> None:
    rng = np.random.default_rng(0)
    flat = rng.standard_normal((6, 40))
    cases = {
        "flat": flat,
        "steep": flat * 10.0 ** -(np.arange(6.0)[:, None] ** 1.5),
        "rank 2": flat[:, :2] @ rng.standard_normal((2, 40)),
        "equal rows": np.tile(flat[:1], (6, 1)),
        "float32": flat.astype(np.float32).astype(np.float64),
    }
    for name, matrix in cases.items():
        factor = narrowed(matrix * scale, 0.0)
        assert factor.shape == (6, 6)
        assert least_eigenvalue(factor, matrix * scale) >= 0, name
        assert np.linalg.norm(factor / scale, 2) <= np.linalg.norm(matrix, 2) * (1 + 1e-12)


def test_a_square_factor_holds_what_its_matrix_may_miss() -> None:
    rng = np.random.default_rng(1)
    matrix, error = rng.standard_normal((5, 30)), 1e-7
    factor = narrowed(matrix, error)
    for _ in range(20):
        way = rng.standard_normal(matrix.shape)
        assert least_eigenvalue(factor, matrix + error * way / np.linalg.norm(way, 2) * (1 - 1e-9)) >= 0
    worst = matrix * (1 + error / np.linalg.norm(matrix, 2) * (1 - 1e-9))
    assert least_eigenvalue(factor, worst) >= 0
    assert np.linalg.norm(factor, 2) <= np.linalg.norm(matrix, 2) + 3 * error * 30**0.5


@pytest.mark.parametrize(("matrix", "error"), [(np.zeros((2, 5)), 0.0), (np.ones((2, 5)), 1.0)])
def test_a_matrix_that_is_all_error_has_no_factor(matrix: np.ndarray, error: float) -> None:
    with pytest.raises(NotApplicable, match="rounding"):
        narrowed(matrix, error)


@pytest.mark.parametrize("inputs", [1500, 1900, 30000])
def test_columns_of_zeros_change_no_bound(inputs: int) -> None:
    """Every rule sees them; the truth is the network without them."""
    rng = np.random.default_rng(2)
    first, *rest = (rng.standard_normal(shape) / shape[1] ** 0.5 for shape in ((40, 40), (30, 40), (4, 30)))
    wide = np.zeros((40, inputs))
    wide[:, rng.permutation(inputs)[:40]] = first
    for name in ("combettes-pesquet", "eclipse"):
        narrow = network_bound(relu_graph([first, *rest]), bound=name)
        bound = network_bound(relu_graph([wide, *rest]), bound=name)
        assert bound.rule == name and not bound.notes
        # descent begins at another rotation of the inputs, which it does not see but for rounding
        assert bound.upper == pytest.approx(narrow.upper, rel=1e-7)
        assert bound.pairwise == pytest.approx(narrow.pairwise, rel=1e-7)


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.GELU(), nn.LeakyReLU(0.3)])
def test_no_slope_of_a_wide_network_exceeds_its_bound(activation: nn.Module) -> None:
    torch.manual_seed(3)
    graph = graph_of(
        nn.Sequential(nn.Linear(2500, 30), activation, nn.Linear(30, 20), activation, nn.Linear(20, 4)), (2500,)
    )
    bound, product = network_bound(graph), network_bound(graph, bound="product")
    assert bound.rule == "eclipse" and bound.upper < 0.9 * product.upper
    assert bound.pairwise is not None
    for jacobian in steepest_jacobians(to_module(graph, dtype=torch.float64), (2500,), starts=1):
        assert torch.linalg.matrix_norm(jacobian, 2) <= bound.upper
        apart = torch.linalg.vector_norm(jacobian[:, None] - jacobian, dim=2).numpy()
        assert (apart <= bound.pairwise).all()


def test_an_orthogonal_wide_network_has_norm_one() -> None:
    rng = np.random.default_rng(4)
    first = np.linalg.qr(rng.standard_normal((2000, 24)))[0].T
    bound = network_bound(relu_graph([first, np.linalg.qr(rng.standard_normal((24, 24)))[0]]))
    assert 1 - 1e-12 <= bound.upper <= 1 + 1e-6


def test_many_outputs_do_not_keep_a_rule_away() -> None:
    rng = np.random.default_rng(5)
    matrices = [rng.standard_normal(shape) / shape[1] ** 0.5 for shape in ((20, 12), (16, 20), (3000, 16))]
    tall = network_bound(relu_graph(matrices), task="regressor", bound="eclipse")
    square = np.linalg.qr(matrices[-1])[1]  # of the same norms
    same = network_bound(relu_graph([*matrices[:-1], square]), task="regressor", bound="eclipse")
    assert not tall.notes
    assert same.upper * (1 - 1e-9) <= tall.upper <= same.upper * 1.01


def test_a_budget_that_is_met_is_told_with_one_that_is_not() -> None:
    """Counted, not timed: the same again, and what the note names is enough."""
    rng = np.random.default_rng(6)
    graph = relu_graph([rng.standard_normal(shape) / shape[1] ** 0.5 for shape in ((500, 20), (500, 500), (3, 500))])
    poor = network_bound(graph, bound="eclipse", budget=1)
    (note,) = poor.notes
    assert note.startswith("eclipse, up to node 4 (Gemm): matrices of order 500 take too long: ")
    assert poor.upper == network_bound(graph, bound="product").upper
    named = int(note.split("a budget of ")[1].split(" ")[0])
    assert network_bound(graph, bound="eclipse", budget=named - 1).notes
    rich = network_bound(graph, bound="eclipse", budget=named)
    assert not rich.notes and rich.upper < poor.upper
    with pytest.raises(ValueError, match="from 1 on"):
        network_bound(graph, budget=0)


def test_what_rules_take_adds_up() -> None:
    effort = Effort(4)
    effort.take(2**30, effort.share(2))
    with pytest.raises(NotApplicable, match=r"takes 3\.2 billion multiply-adds; a budget of about 6 allows them"):
        effort.take(3 * 2**30, effort.share(2))
    effort.take(2**31, effort.share(2))
    with pytest.raises(NotApplicable, match="a budget of about 5 allows them, this one was 4"):
        effort.take(2**30 + 1, effort.share(2))


def test_what_is_worked_on_is_told() -> None:
    told: list[str] = []
    network_bound(relu_graph([np.eye(3), np.eye(3)]), progress=told.append)
    nodes = ["node 0 (Gemm) of 3", "node 1 (Relu) of 3", "node 2 (Gemm) of 3"]
    assert told == [*nodes, "combettes-pesquet, up to node 2 (Gemm)", "eclipse, up to node 2 (Gemm)"]


def test_notes_say_what_keeps_a_rule_away() -> None:
    wide = relu_graph([np.eye(5000, 8), np.eye(8, 5000)])
    assert [note.partition(": ")[2] for note in network_bound(wide).notes] == [
        "matrices of order 5,000 are too large"
    ] * 2
    grown = nn.Sequential(nn.ConvTranspose2d(2, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49 * 49, 4))
    note, *_ = network_bound(graph_of(grown, (2, 24, 24))).notes
    assert note.endswith(": a transposed convolution has a stride, and matrices of order 19,208 are too large")
    broad = relu_graph([np.eye(2000, 8), np.eye(8, 2000)])
    note, *_ = network_bound(broad).notes
    assert note.endswith(": matrices of order 2,000 take too long: a budget of 1,908 or more takes them")
