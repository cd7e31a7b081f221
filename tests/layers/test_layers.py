"""One suite for all layers: what is said of them holds, in float64 against explicit Jacobians, and of exported
files.
"""

import copy
import re
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from radii.graph import read_onnx
from radii.layers import CPL, SLL, Cayley, GroupSort, MaxMin, UnitRows, cayley, plain
from radii.lipschitz import network_bound
from tests.graph.export import export
from tests.layers.cases import CASES, EXPORTED, Case
from workers.intake.read_model import read_model

every = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
weighted = pytest.mark.parametrize(
    "case",
    [case for case in CASES.values() if list(case.build().parameters())],
    ids=[n for n, c in CASES.items() if list(c.build().parameters())],
)
SHRUNK = 1 / (1 + 1e-6)


def jacobian(layer: nn.Module, x: Tensor) -> Tensor:
    """(outputs, inputs), at one input."""
    made: Tensor = torch.func.jacrev(lambda flat: layer(flat.reshape(1, *x.shape)).flatten())(x.flatten()).detach()
    return made


@every
def test_no_slope_is_above_one(case: Case) -> None:
    """Neither of the explicit Jacobian, near the data and far from it, nor between pairs of inputs."""
    layer = case.layer()
    for scale in (1.0, 30.0):
        matrix = jacobian(layer, case.inputs(1)[0] * scale)
        norms = matrix.norm(dim=1) if case.rows else torch.linalg.svdvals(matrix)
        assert float(norms.max()) <= 1 + 1e-12
        if case.isometry and list(layer.parameters()):
            torch.testing.assert_close(norms, torch.full_like(norms, SHRUNK), rtol=1e-9, atol=0)
        elif case.isometry:
            torch.testing.assert_close(norms, torch.ones_like(norms))
    a, b = case.inputs(200), case.inputs(200, seed=1)
    with torch.no_grad():
        moved, made = (a - b).flatten(1).norm(dim=1), (layer(a) - layer(b)).flatten(1)
    assert float(((made.abs().amax(1) if case.rows else made.norm(dim=1)) / moved).max()) <= 1 + 1e-12


@weighted
def test_plain_weights_make_the_same_function(case: Case) -> None:
    layer, x = case.layer(), case.inputs(5)
    exported = plain(layer, x)
    assert type(exported) is not type(layer)
    torch.testing.assert_close(exported(x), layer(x), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("case", [CASES[name] for name in EXPORTED], ids=EXPORTED)
def test_the_exported_file_is_proved(case: Case) -> None:
    """By torch's default exporter, in float32, and radii's bound of what it wrote."""
    layer = case.layer(torch.float32)
    network = nn.Sequential(layer, nn.Flatten())
    file = export(plain(network, case.inputs(2, torch.float32)), case.shape, dynamo=True, opset=20, dynamic=True)
    bound = network_bound(read_onnx(file))
    if not case.rows:
        assert bound.upper <= 1 + 1e-9
        return
    assert bound.pairwise is not None
    assert bound.pairwise.max() <= 2 + 1e-9


@weighted
def test_gradients(case: Case) -> None:
    layer, x = case.layer(), case.inputs(2).requires_grad_()
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def made(x: Tensor, *values: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))
        return result

    assert torch.autograd.gradcheck(made, (x, *parameters), fast_mode=True)


@weighted
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_training(case: Case, dtype: torch.dtype) -> None:
    """Towards what the same layer with other parameters makes: the loss falls, and no parameter is lost."""
    layer, x = case.layer(dtype), case.inputs(32, dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        target = layer(x).float()
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator).to(dtype))
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.03)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (layer(x).float() - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    assert all(bool(parameter.isfinite().all()) for parameter in layer.parameters())


@weighted
def test_state_dict(case: Case) -> None:
    layer, x = case.layer(), case.inputs(3)
    other = case.build().double()
    other.load_state_dict(copy.deepcopy(layer.state_dict()))
    assert torch.equal(other(x), layer(x))


@weighted
def test_zero_weights(case: Case) -> None:
    """Rows of zeros, and all weights zero, have outputs and gradients."""
    for rows in (1, None):
        layer, x = case.layer(), case.inputs(2).requires_grad_()
        weight: Tensor = layer.weight  # type: ignore[assignment]
        weight.data[:rows] = 0
        y = layer(x)
        gradients = torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])
        assert bool(y.isfinite().all()) and all(bool(gradient.isfinite().all()) for gradient in gradients)
        assert float(torch.linalg.svdvals(jacobian(layer, x[0].detach())).max()) <= 1 + 1e-12 or case.rows


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # the compiler does it itself
@pytest.mark.parametrize("name", ["SLL conv circular stride", "CPL", "Cayley tall"])
def test_compiled_in_one_graph(name: str) -> None:
    layer, x = CASES[name].layer(), CASES[name].inputs(3)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer(x))
    (gradient,) = torch.autograd.grad(compiled(x).sum(), layer.weight)  # type: ignore[arg-type]
    torch.testing.assert_close(gradient, torch.autograd.grad(layer(x).sum(), layer.weight)[0])  # type: ignore[arg-type]


def test_autocast_does_not_loosen_a_layer() -> None:
    """What makes the layer 1-Lipschitz is computed in float32, and only its products in bfloat16."""
    layer = CASES["AOL conv"].layer(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scaled = layer.scaled()  # type: ignore[operator]
    assert scaled.dtype == torch.float32


def test_cayley_of_complex_blocks() -> None:
    blocks = torch.randn(5, 4, 3, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    made = cayley(blocks)
    torch.testing.assert_close(made.mH @ made, torch.eye(3, dtype=torch.complex128).expand(5, 3, 3))


def whole() -> tuple[nn.Module, Tensor]:
    """A network of layers of several kinds, and inputs for it."""
    torch.manual_seed(0)
    model = nn.Sequential(
        SLL(2, 5, kernel_size=3),
        Cayley(2, 4, kernel_size=3),
        MaxMin(),
        CPL(4, kernel_size=3, padding_mode="circular"),
        nn.Flatten(),
        Cayley(4 * 4 * 3, 16),
        GroupSort(4),
        SLL(16, 32),
        UnitRows(16, 5),
    )
    return model, torch.randn(6, 2, 4, 3)


def test_a_whole_network_is_proved_and_the_model_itself_left_alone() -> None:
    model, x = whole()
    before = copy.deepcopy(model.state_dict())
    exported = plain(model, x)
    assert model.training and all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    torch.testing.assert_close(exported(x), model(x))
    bound = network_bound(read_onnx(export(exported, (2, 4, 3), dynamo=True, opset=20, dynamic=True)))
    assert bound.pairwise is not None
    w = exported[-1].weight.detach().double()  # type: ignore[index]
    pairs = torch.cdist(w, w).numpy()
    assert (bound.pairwise <= pairs * (1 + 1e-9)).all()
    assert (bound.pairwise >= pairs * (1 - 1e-5)).all()


def test_the_service_takes_the_file(tmp_path: Path) -> None:
    """Intake's own function: it reads what the exporter wrote, compares it with onnxruntime, and says what it is good
    for.
    """
    model, x = whole()
    file = tmp_path / "model.onnx"
    file.write_bytes(export(plain(model, x), (2, 4, 3), dynamo=True, opset=20, dynamic=True))
    settings = {"input": {"shape": [2, 4, 3], "range": [0, 1], "mean": 0, "std": 1}, "output": None, "labels": None}
    found = read_model({"file": str(file), "external_data": {}, "settings": settings})
    assert {"kind": "lipschitz", "applies": True, "reasons": []} in found["methods"]


def test_the_program_on_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what it writes has a bound of 1."""
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the exporter says of itself
        exec(program, {})
    assert 1 - 1e-5 <= network_bound(tmp_path / "model.onnx").upper <= 1 + 1e-9


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="odd"):
        SLL(3, kernel_size=2)
    with pytest.raises(ValueError, match="no stride"):
        CPL(3, stride=2)
    with pytest.raises(ValueError, match="padding_mode"):
        SLL(3, kernel_size=3, padding_mode="reflect")
    with pytest.raises(ValueError, match="groups of 2"):
        MaxMin()(torch.zeros(1, 5))
    with pytest.raises(ValueError, match="steps"):
        SLL(3, steps=0)(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="at least 2"):
        GroupSort(1)
    assert UnitRows(3, 2).weight.shape == (2, 3)
