"""Networks on patches or points without a library: mixers and attention in plain torch."""

import torch
from torch import Tensor, nn

from tests.graph.zoo.entry import Network
from tests.graph.zoo.layers import Mean, Residual, Transposed

IMAGE = (3, 16, 16)
TOKENS, WIDTH = 16, 12


def patches() -> list[nn.Module]:
    """(batch, 3, 16, 16) to (batch, 16 tokens, 12)."""
    return [nn.Conv2d(3, WIDTH, 4, 4), nn.Flatten(2), _Swap()]


class _Swap(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 1)


def mixing(features: int, hidden: int, activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, hidden), activation, nn.Dropout(), nn.Linear(hidden, features))


def mixer() -> nn.Module:
    def block() -> list[nn.Module]:
        tokens = nn.Sequential(nn.LayerNorm(WIDTH), Transposed(mixing(TOKENS, 10, nn.GELU())))
        return [Residual(tokens), Residual(nn.Sequential(nn.LayerNorm(WIDTH), mixing(WIDTH, 20, nn.GELU())))]

    return nn.Sequential(*patches(), *block(), *block(), nn.LayerNorm(WIDTH), Mean(), nn.Linear(WIDTH, 5))


class Affine(nn.Module):
    """ResMLP's replacement of layer norm."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.rand(features) + 0.5), nn.Parameter(torch.randn(features))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.shift


def resmlp() -> nn.Module:
    def block() -> list[nn.Module]:
        tokens = nn.Sequential(Affine(WIDTH), Transposed(nn.Linear(TOKENS, TOKENS)), Affine(WIDTH))
        return [Residual(tokens), Residual(nn.Sequential(Affine(WIDTH), mixing(WIDTH, 20, nn.GELU()), Affine(WIDTH)))]

    return nn.Sequential(*patches(), *block(), *block(), Affine(WIDTH), Mean(), nn.Linear(WIDTH, 5))


class SpatialGating(nn.Module):
    """gMLP: one half of the features gates the other, after mixing tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(10), nn.Conv1d(TOKENS, TOKENS, 1)

    def forward(self, x: Tensor) -> Tensor:
        u, v = x.chunk(2, dim=-1)
        return u * self.mix(self.norm(v))


def gmlp() -> nn.Module:
    def block() -> nn.Module:
        body = [nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 20), nn.GELU(), SpatialGating(), nn.Linear(10, WIDTH)]
        return Residual(nn.Sequential(*body))

    return nn.Sequential(*patches(), block(), block(), nn.LayerNorm(WIDTH), Mean(), nn.Linear(WIDTH, 5))


class ClassToken(nn.Module):
    """A learnt token before the others, and positions."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.position = (
            nn.Parameter(torch.randn(1, 1, WIDTH)),
            nn.Parameter(torch.randn(1, TOKENS + 1, WIDTH)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.position


class First(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


class Attention(nn.Module):
    """Attention as timm writes it: one linear layer for queries, keys and values."""

    def __init__(self, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5).softmax(dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(b, n, c))


def vision_transformer() -> nn.Module:
    def block() -> list[nn.Module]:
        attention = nn.Sequential(nn.LayerNorm(WIDTH), Attention())
        return [Residual(attention), Residual(nn.Sequential(nn.LayerNorm(WIDTH), mixing(WIDTH, 20, nn.GELU())))]

    return nn.Sequential(
        *patches(), ClassToken(), *block(), *block(), nn.LayerNorm(WIDTH), First(), nn.Linear(WIDTH, 5)
    )


def compact_transformer() -> nn.Module:
    """torch's own encoder layers on a convolutional stem."""
    layer = nn.TransformerEncoderLayer(WIDTH, 2, 20, activation="gelu", batch_first=True, norm_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return nn.Sequential(*patches(), encoder, Mean(), nn.Linear(WIDTH, 5))


class External(nn.Module):
    """External attention: softmax over the tokens, then each token's weights sum to one."""

    def __init__(self) -> None:
        super().__init__()
        self.keys, self.values = nn.Linear(WIDTH, 8, bias=False), nn.Linear(8, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.keys(x).softmax(dim=1)
        return self.values(weights / (1e-9 + weights.sum(dim=2, keepdim=True)))


def external_attention() -> nn.Module:
    layers = [Residual(nn.Sequential(nn.LayerNorm(WIDTH), External())) for _ in range(2)]
    return nn.Sequential(*patches(), *layers, Mean(), nn.Linear(WIDTH, 5))


class PointNet(nn.Module):
    """A set of points: a shared MLP and a maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Sequential(
            nn.Conv1d(3, 12, 1), nn.BatchNorm1d(12), nn.ReLU(), nn.Conv1d(12, 16, 1), nn.BatchNorm1d(16)
        )
        self.end = nn.Sequential(nn.Linear(16, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 5))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.end(self.shared(x).max(dim=2)[0])
        return y


NETWORKS = [
    Network("MLP-Mixer", "mlp_mixer", mixer, IMAGE, (22,), (17,)),
    Network("ResMLP", "resmlp", resmlp, IMAGE, (19,), (13,)),
    Network("gMLP", "gmlp", gmlp, IMAGE, (20,), (14,)),
    Network("External attention", "external_attention", external_attention, IMAGE, (23,), (18,)),
    Network("ViT", "vit_timm", vision_transformer, IMAGE, (20,), (13,)),
    Network("CCT", "vit_cct", compact_transformer, IMAGE, (21,), (17,)),
    Network("PointNet", "pointnet", PointNet, (3, 20), (18,), (13,)),
]
