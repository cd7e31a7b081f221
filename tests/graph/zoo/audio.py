"""Networks on raw audio and on spectrograms."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from tests.graph.zoo.entry import Network
from tests.graph.zoo.layers import conv_norm, head
from tests.graph.zoo.transformers_vision import pretrained

SPEECH: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24, "conv_dim": [8, 8, 8],
    "conv_stride": [5, 4, 4], "conv_kernel": [10, 4, 4], "num_feat_extract_layers": 3, "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 12, "layerdrop": 0.0, "apply_spec_augment": False,
}  # fmt: skip


def speech(model: str, config: str, **settings: Any) -> nn.Module:
    return pretrained(model, config, **SPEECH | settings)


def ast() -> nn.Module:
    return pretrained(
        "ASTForAudioClassification", "ASTConfig", hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, patch_size=8, max_length=32, num_mel_bins=16, frequency_stride=8, time_stride=8,
    )  # fmt: skip


def m5() -> nn.Module:
    """M5 (arXiv:1610.00087) on 8000 samples, narrow."""
    layers: list[nn.Module] = []
    for c_in, c_out, kernel, stride in ((1, 8, 80, 16), (8, 8, 3, 1), (8, 12, 3, 1), (12, 16, 3, 1)):
        layers += [nn.Conv1d(c_in, c_out, kernel, stride), nn.BatchNorm1d(c_out), nn.ReLU(), nn.MaxPool1d(4)]
    return nn.Sequential(*layers[:-1], nn.AvgPool1d(5), nn.Flatten(), nn.Linear(16, 5), nn.LogSoftmax(dim=1))


def keyword_dscnn() -> nn.Module:
    """DS-CNN on 10 coefficients of 49 frames."""
    layers: list[nn.Module] = [nn.Conv2d(1, 8, (10, 4), (2, 2), (5, 1)), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2)]
    for _ in range(2):
        layers += [*conv_norm(8, 8, 3, groups=8), nn.ReLU(), *conv_norm(8, 8, 1), nn.ReLU()]
    return nn.Sequential(*layers, head(8))


class Tdnn(nn.Module):
    """x-vector: dilated convolutions in time, then mean and standard deviation over it."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for c_in, dilation in ((8, 1), (12, 2), (12, 3)):
            layers += [nn.Conv1d(c_in, 12, 3, dilation=dilation), nn.ReLU(), nn.BatchNorm1d(12)]
        self.frames, self.segment = (
            nn.Sequential(*layers),
            nn.Sequential(nn.Linear(24, 12), nn.ReLU(), nn.Linear(12, 5)),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.frames(x)
        mean = x.mean(dim=2)
        variance = (x - mean.unsqueeze(2)).pow(2).mean(dim=2)
        y: Tensor = self.segment(torch.cat([mean, torch.sqrt(variance + 1e-5)], dim=1))
        return y


class SincFront(nn.Module):
    """SincNet: band-pass filters made from learnt cut-offs, which an exporter can fold or keep."""

    time: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.low, self.band = nn.Parameter(torch.rand(6) * 0.2 + 0.02), nn.Parameter(torch.rand(6) * 0.1 + 0.05)
        self.register_buffer("time", torch.arange(-15, 16).float() / 2)

    def forward(self, x: Tensor) -> Tensor:
        def sinc(f: Tensor) -> Tensor:
            phase = 2 * math.pi * f[:, None] * (self.time + 0.1)[None]
            return 2 * f[:, None] * torch.sin(phase) / phase

        filters = sinc(self.low.abs() + self.band.abs()) - sinc(self.low.abs())
        return nn.functional.conv1d(x, filters[:, None], stride=4).abs()


def sincnet() -> nn.Module:
    layers = [
        SincFront(),
        nn.MaxPool1d(3),
        nn.GroupNorm(1, 6),
        nn.LeakyReLU(0.2),
        nn.Conv1d(6, 8, 5),
        nn.LeakyReLU(0.2),
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 5))


class SpectrogramCNN(nn.Module):
    """The spectrogram as a convolution with a Fourier basis, its logarithm, then a CNN."""

    def __init__(self) -> None:
        super().__init__()
        time, frequency = torch.arange(32.0), torch.arange(12.0)[:, None]
        phase = 2 * math.pi * frequency * time / 32
        self.register_buffer("basis", torch.cat([phase.cos(), phase.sin()])[:, None] * torch.hann_window(32))
        self.body = nn.Sequential(*conv_norm(1, 8, 3, 2), nn.ReLU(), head(8))

    def forward(self, x: Tensor) -> Tensor:
        real, imaginary = nn.functional.conv1d(x, self.basis, stride=16).chunk(2, dim=1)  # type: ignore[arg-type]
        y: Tensor = self.body(torch.log(real.pow(2) + imaginary.pow(2) + 1e-3).unsqueeze(1))
        return y


class Conformer(nn.Module):
    """One convolution module of a conformer: GLU, depthwise convolution, Swish."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.inner = nn.Sequential(
            nn.Conv1d(8, 16, 1),
            nn.GLU(dim=1),
            nn.Conv1d(8, 8, 5, padding=2, groups=8),
            nn.BatchNorm1d(8),
            nn.SiLU(),
            nn.Conv1d(8, 8, 1),
        )
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = x + self.inner(self.norm(x).transpose(1, 2)).transpose(1, 2)
        return self.fc(y.mean(dim=1))


# fmt: off
NETWORKS = [
    Network("AST", "ast", ast, (32, 16), (20,), (15,)),
    Network("Wav2Vec2", "wav2vec2", lambda: speech("Wav2Vec2ForSequenceClassification", "Wav2Vec2Config"),
        (1600,), (21,), (17,)),
    Network("Wav2Vec2", "wav2vec2_layer_norm", lambda: speech("Wav2Vec2ForSequenceClassification",
        "Wav2Vec2Config", feat_extract_norm="layer", do_stable_layer_norm=True), (1600,), (18,), (14,)),
    Network("Wav2Vec2", "data2vec_audio", lambda: speech("Data2VecAudioForSequenceClassification",
        "Data2VecAudioConfig", conv_pos_kernel_size=5), (1600,), (22,), (16,)),
    Network("HuBERT", "hubert", lambda: speech("HubertForSequenceClassification", "HubertConfig"), (1600,),
        (19,), (18,)),
    Network("SEW", "sew", lambda: speech("SEWForSequenceClassification", "SEWConfig", squeeze_factor=2),
        (1600,), (23,), (15,)),
    Network("M5", "m5", m5, (1, 8000), (22,), (13,)),
    Network("DS-CNN", "keyword_dscnn", keyword_dscnn, (1, 49, 10), (23,), (14,)),
    Network("TDNN", "x_vector", Tdnn, (8, 40), (18,), (16,)),
    Network("SincNet", "sincnet", sincnet, (1, 400), (19,), (17,)),
    Network("Spectrogram CNN", "spectrogram_cnn", SpectrogramCNN, (1, 512), (20,), (18,)),
    Network("Conformer", "conformer", Conformer, (24, 8), (21,), (13,)),
]
# fmt: on
