"""Networks on rows of features, the constrained ones among them."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from tests.graph.zoo.entry import Network
from tests.graph.zoo.layers import GroupSort, Residual, RMSNorm, head

ROW = (10,)


def mlp(activation: Callable[[], nn.Module], norm: Callable[[int], nn.Module] | None = None) -> Callable[[], nn.Module]:
    """Two hidden layers of 16."""

    def build() -> nn.Module:
        layers: list[nn.Module] = []
        for features in (10, 16):
            layers += [nn.Linear(features, 16), *([norm(16)] if norm else []), activation(), nn.Dropout(0.1)]
        return nn.Sequential(*layers, nn.Linear(16, 5))

    return build


class QuickGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class ManualGelu(nn.Module):
    """The tanh form, written with x*x*x."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x * (1.0 + torch.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))


class Squareplus(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * (x + torch.sqrt(x * x + 4.0))


class Snake(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.sin(x) ** 2


class Shrink(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.softshrink(x, 0.2) + nn.functional.hardshrink(x, 0.1)


class Mixed(nn.Module):
    """Reciprocal, absolute value, exponential, logarithm: functions of one variable in a row."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.log1p(torch.exp(-x.abs())) + 1 / (1 + x.square()) + nn.functional.logsigmoid(x)


def tabular_resnet() -> nn.Module:
    def block() -> nn.Module:
        body = [nn.BatchNorm1d(12), nn.Linear(12, 20), nn.ReLU(), nn.Dropout(), nn.Linear(20, 12), nn.Dropout()]
        return Residual(nn.Sequential(*body))

    return nn.Sequential(nn.Linear(10, 12), block(), block(), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 5))


class FeatureTransformer(nn.Module):
    """FT-Transformer: each number a token, torch's multi-head attention."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(10, 8)), nn.Parameter(torch.randn(10, 8))
        self.token = nn.Parameter(torch.randn(8))
        self.attention, self.norm = nn.MultiheadAttention(8, 2, batch_first=True), nn.LayerNorm(8)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x[..., None] * self.weight + self.bias
        tokens = torch.cat([self.token.expand(x.shape[0], 1, -1), tokens], dim=1)
        tokens = tokens + self.attention(*[self.norm(tokens)] * 3, need_weights=False)[0]
        return self.fc(torch.relu(tokens[:, 0]))


class CrossNetwork(nn.Module):
    """DCN-V2: products of learnt maps with the input."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.fc = nn.ModuleList(nn.Linear(10, 10) for _ in range(2)), nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.layers:
            y = x * layer(y) + y
        return self.fc(y)


class Periodic(nn.Module):
    """Periodic embeddings of numbers: sin and cos of learnt frequencies."""

    def __init__(self) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(torch.randn(10, 4))
        self.end = nn.Sequential(nn.Flatten(), nn.Linear(80, 12), nn.ReLU(), nn.Linear(12, 5))

    def forward(self, x: Tensor) -> Tensor:
        phase = 2 * math.pi * self.frequencies * x.unsqueeze(-1)
        y: Tensor = self.end(torch.cat([phase.cos(), phase.sin()], dim=-1))
        return y


class WideAndDeep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide, self.deep = nn.Linear(10, 5), nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 5))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.wide(x) + self.deep(x)
        return y


class RadialBasis(nn.Module):
    """Gaussians of distances to learnt centres."""

    def __init__(self) -> None:
        super().__init__()
        self.centres, self.fc = nn.Parameter(torch.randn(8, 10)), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        distances = (x[:, None] - self.centres).pow(2).sum(dim=-1)
        return self.fc(torch.exp(-0.1 * distances))


class Prototypes(nn.Module):
    """Cosine similarity with class prototypes, scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.prototypes = nn.Linear(10, 8), nn.Parameter(torch.randn(5, 8))

    def forward(self, x: Tensor) -> Tensor:
        normalize = nn.functional.normalize
        return 8.0 * nn.functional.linear(normalize(self.embed(x)), normalize(self.prototypes))


class Maxout(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), -1, 2).amax(dim=2)


class Ensemble(nn.Module):
    """The mean probability of three networks, as logits."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList(mlp(nn.ReLU)() for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(torch.stack([member(x).softmax(dim=-1) for member in self.members]).mean(dim=0))


class SelfNormalizing(nn.Module):
    """Standardised inputs, SELU, alpha dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.randn(10))
        self.register_buffer("std", torch.rand(10) + 0.5)
        self.body = nn.Sequential(nn.Linear(10, 16), nn.SELU(), nn.AlphaDropout(), nn.Linear(16, 5))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body((x - self.mean) / self.std)  # type: ignore[operator]
        return y


class SplineEdges(nn.Module):
    """A Kolmogorov-Arnold layer: sums of hat functions of each number."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("knots", torch.linspace(-2, 2, 6))
        self.fc = nn.Linear(60, 5)

    def forward(self, x: Tensor) -> Tensor:
        hats = torch.relu(1 - (x.unsqueeze(-1) - self.knots).abs() / 0.8)  # type: ignore[operator]
        return self.fc(hats.flatten(1))


class Double(nn.Module):
    """An MLP in double precision behind casts."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = mlp(nn.Tanh)().double()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.double()).float()


class Sorted(nn.Module):
    """Full sort of groups of four (GroupSort4)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.topk(x.view(x.size(0), -1, 4), 4, dim=2)[0].flatten(1)


class Householder(nn.Module):
    """A reflection of pairs of features (arXiv:2108.04062), by masks."""

    def __init__(self, angle: float = 1.0) -> None:
        super().__init__()
        self.angle = angle

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.split(x.shape[1] // 2, dim=1)  # type: ignore[no-untyped-call]
        side = a * math.sin(self.angle / 2) - b * math.cos(self.angle / 2)
        sin, cos = math.sin(self.angle), math.cos(self.angle)
        return torch.cat(
            [torch.where(side <= 0, cos * a + sin * b, a), torch.where(side <= 0, sin * a - cos * b, b)], dim=1
        )


def constrained(kind: Callable[[nn.Module], nn.Module], activation: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """An MLP of layers under a constraint on their weights."""

    def build() -> nn.Module:
        layers = [kind(nn.Linear(10, 16)), activation(), kind(nn.Linear(16, 16)), activation()]
        return multiplied_out(nn.Sequential(*layers, kind(nn.Linear(16, 5))))

    return build


def multiplied_out(network: nn.Module) -> nn.Module:
    """Weights as they are, their parametrisation gone, as one does before an export."""
    for layer in network.modules():
        if is_parametrized(layer):
            remove_parametrizations(layer, "weight")
    return network


def spectral_cnn() -> nn.Module:
    layers = [spectral_norm(nn.Conv2d(3, 8, 3, 1, 1)), nn.LeakyReLU(0.1), spectral_norm(nn.Conv2d(8, 8, 4, 2, 1))]
    return multiplied_out(nn.Sequential(*layers, nn.LeakyReLU(0.1), head(8)))


# fmt: off
NETWORKS = [
    Network("Logistic regression", "logistic", lambda: nn.Linear(10, 5), ROW, (18,), (13,)),
    Network("Logistic regression", "softmax_regression", lambda: nn.Sequential(nn.Linear(10, 5),
        nn.Softmax(dim=1)), ROW, (23,), (9,)),
    Network("MLP", "mlp_batch_norm", mlp(nn.ReLU, nn.BatchNorm1d), ROW, (19,), (14,)),
    Network("MLP", "mlp_silu", mlp(nn.SiLU), ROW, (20,), (15,)),
    Network("MLP", "mlp_gelu", mlp(nn.GELU), ROW, (18,), (13, 20)),
    Network("MLP", "mlp_gelu_tanh", mlp(lambda: nn.GELU(approximate="tanh")), ROW, (21,), (16,)),
    Network("MLP", "mlp_gelu_manual", mlp(ManualGelu), ROW, (22,), (14,)),
    Network("MLP", "mlp_quick_gelu", mlp(QuickGelu), ROW, (22,), (17,)),
    Network("MLP", "mlp_layer_norm", mlp(nn.ReLU, nn.LayerNorm), ROW, (23,), (13, 18)),
    Network("MLP", "mlp_rms_norm", mlp(nn.ReLU, nn.RMSNorm), ROW, (18, 23), failing=(18,)),
    Network("MLP", "mlp_rms_norm_manual", mlp(nn.SiLU, RMSNorm), ROW, (19,), (14,)),
    Network("MLP", "mlp_mish", mlp(nn.Mish), ROW, (19,), (14,)),
    Network("MLP", "mlp_celu", mlp(lambda: nn.CELU(0.7)), ROW, (20,), (15,)),
    Network("MLP", "mlp_softplus", mlp(lambda: nn.Softplus(beta=2.0)), ROW, (21,), (16,)),
    Network("MLP", "mlp_softsign", mlp(nn.Softsign), ROW, (22,), (17,)),
    Network("MLP", "mlp_prelu", mlp(lambda: nn.PReLU(16)), ROW, (23,), (18,)),
    Network("MLP", "mlp_relu6", mlp(nn.ReLU6), ROW, (18,), (10,)),
    Network("MLP", "mlp_hardswish", mlp(nn.Hardswish), ROW, (19,), (13,)),
    Network("MLP", "mlp_tanhshrink", mlp(nn.Tanhshrink), ROW, (20,), (15,)),
    Network("MLP", "mlp_shrink", mlp(Shrink), ROW, (21,), (16,)),
    Network("MLP", "mlp_squareplus", mlp(Squareplus), ROW, (22,), (17,)),
    Network("MLP", "mlp_snake", mlp(Snake), ROW, (23,), (18,)),
    Network("MLP", "mlp_mixed_functions", mlp(Mixed), ROW, (18,), (13,)),
    Network("MLP", "mlp_maxout", lambda: nn.Sequential(nn.Linear(10, 32), Maxout(), nn.Linear(16, 5)), ROW,
        (20,), (15,)),
    Network("MLP", "mlp_double", Double, ROW, (18,), (13,)),
    Network("MLP", "mlp_glu", lambda: nn.Sequential(nn.Linear(10, 32), nn.GLU(), nn.Linear(16, 5)), ROW,
        (21,), (16,)),
    Network("Self-normalising", "selu_network", SelfNormalizing, ROW, (22,), (17,)),
    Network("Tabular ResNet", "tabular_resnet", tabular_resnet, ROW, (20,), (15,)),
    Network("Cross network", "dcn_v2", CrossNetwork, ROW, (22,), (17,)),
    Network("Periodic embedding", "periodic_embedding", Periodic, ROW, (23,), (18,)),
    Network("Wide and deep", "wide_and_deep", WideAndDeep, ROW, (18,), (13,)),
    Network("Radial basis", "radial_basis", RadialBasis, ROW, (19,), (14,)),
    Network("Prototypes", "cosine_prototypes", Prototypes, ROW, (20,), (17,)),
    Network("KAN", "spline_edges", SplineEdges, ROW, (22,), (17,)),
    Network("GroupSort", "groupsort_spectral", constrained(spectral_norm, GroupSort), ROW, (23,), (18,)),
    Network("GroupSort", "groupsort_4", constrained(orthogonal, Sorted), ROW, (18,), (13,)),
    Network("Spectral norm", "spectral_norm_mlp", constrained(spectral_norm, nn.ReLU), ROW, (19,), (14,)),
    Network("Spectral norm", "spectral_norm_cnn", spectral_cnn, (3, 16, 16), (20,), (15,)),
    Network("Orthogonal", "orthogonal_mlp", constrained(orthogonal, nn.ReLU), ROW, (21,), (16,)),
    Network("Orthogonal", "orthogonal_householder", constrained(orthogonal, Householder), ROW, (22,), (17,)),
    Network("Weight norm", "weight_norm_mlp", constrained(weight_norm, nn.ELU), ROW, (23,), (18,)),
]
# fmt: on
