"""Networks whose batch leaves the first axis, or is joined with another: torch's own attention, frames, ensembles."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.graph.zoo.entry import Network
from tests.graph.zoo.layers import conv_norm, head

TOKENS, WIDTH = 7, 16
SEQUENCE = (TOKENS, 6)


class Sequence(nn.Module):
    """Something on (tokens, batch, features), torch's own order, or on (batch, tokens, features)."""

    def __init__(self, inner: nn.Module, batch_first: bool) -> None:
        super().__init__()
        self.batch_first, self.embed, self.inner, self.fc = batch_first, nn.Linear(6, WIDTH), inner, nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        y = self.inner(x if self.batch_first else x.transpose(0, 1))
        return self.fc(y.mean(dim=1 if self.batch_first else 0))


class SelfAttention(nn.Module):
    """``nn.MultiheadAttention`` on itself; its weights are asked for, which is another path through torch."""

    def __init__(self, batch_first: bool, weights: bool) -> None:
        super().__init__()
        self.weights, self.attention = weights, nn.MultiheadAttention(WIDTH, 4, batch_first=batch_first)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.attention(x, x, x, need_weights=self.weights)[0]
        return x + y


def encoder(batch_first: bool, norm_first: bool = False) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 24, batch_first=batch_first, norm_first=norm_first)
        return Sequence(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), batch_first)

    return build


def attention(batch_first: bool, weights: bool) -> Callable[[], nn.Module]:
    return lambda: Sequence(SelfAttention(batch_first, weights), batch_first)


class FeatureTokenizer(nn.Module):
    """FT-Transformer: every feature of a row of a table is a token; the answer is read from one more."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(10, WIDTH)), nn.Parameter(torch.randn(10, WIDTH))
        self.token = nn.Parameter(torch.randn(WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 24, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.fc = nn.Sequential(nn.LayerNorm(WIDTH), nn.ReLU(), nn.Linear(WIDTH, 5))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.unsqueeze(-1) * self.weight + self.bias
        tokens = torch.cat([self.token.expand(x.shape[0], 1, -1), tokens], dim=1)
        y: Tensor = self.fc(self.encoder(tokens)[:, 0])
        return y


class PatchTransformer(nn.Module):
    """PatchTST: patches of each channel alone, so that the channels join the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 24, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.fc = nn.Linear(3 * 4 * WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        b, c, n = x.shape
        patches = x.reshape(b * c, n // 8, 8)
        y: Tensor = self.fc(self.encoder(self.embed(patches)).reshape(b, -1))
        return y


class Frames(nn.Module):
    """One CNN for every frame of a clip: the frames join the batch."""

    def __init__(self) -> None:
        super().__init__()
        layers = [*conv_norm(1, 6, 3, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.GroupNorm(2, 8)]
        self.frame, self.fc = nn.Sequential(*layers, head(8, 6)), nn.Linear(4 * 6, 5)

    def forward(self, x: Tensor) -> Tensor:
        b, t, h, w = x.shape
        y: Tensor = self.fc(self.frame(x.reshape(b * t, 1, h, w)).reshape(b, -1))
        return y


class Ensemble(nn.Module):
    """The mean of three networks' probabilities, stacked in front of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList(
            nn.Sequential(nn.Linear(10, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 5)) for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([member(x).softmax(dim=-1) for member in self.members]).mean(dim=0)


class Masked(nn.Module):
    """Attention in one operator (opset 23), with a mask that is repeated for every sample."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.qkv, self.fc = nn.Linear(6, WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, 5)
        self.register_buffer("mask", torch.ones(TOKENS, TOKENS).tril().bool())

    def forward(self, x: Tensor) -> Tensor:
        b = x.shape[0]
        q, k, v = self.qkv(self.embed(x)).reshape(b, TOKENS, 3, 4, 4).permute(2, 0, 3, 1, 4)
        mask = self.mask.expand(b, 1, TOKENS, TOKENS)  # type: ignore[operator]
        y = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.fc(y.transpose(1, 2).reshape(b, TOKENS, WIDTH)[:, -1])


NETWORKS = [
    Network("Transformer", "encoder", encoder(True), SEQUENCE, (18,), (17,)),
    Network("Transformer", "encoder_batch_second", encoder(False), SEQUENCE, (23,), (14,)),
    Network("Transformer", "encoder_norm_first", encoder(False, True), SEQUENCE, (20,), (18,), dynamic=False),
    Network("Transformer", "multihead_attention", attention(True, False), SEQUENCE, (22,), (15,)),
    Network("Transformer", "multihead_attention_weights", attention(False, True), SEQUENCE, (19,), (16,)),
    Network("Transformer", "multihead_attention_one", attention(False, False), SEQUENCE, (23,), (14,), dynamic=False),
    Network("Transformer", "masked_attention", Masked, SEQUENCE, (23,)),
    Network("FT-Transformer", "ft_transformer", FeatureTokenizer, (10,), (21,), (15,)),
    Network("PatchTST", "patch_transformer", PatchTransformer, (3, 32), (20,), (16,)),
    Network("CNN on frames", "frames", Frames, (4, 16, 16), (19,), (14,)),
    Network("CNN on frames", "frames_one", Frames, (4, 16, 16), (22,), (13,), dynamic=False),
    Network("Ensemble", "ensemble", Ensemble, (10,), (18,), (13,)),
]
