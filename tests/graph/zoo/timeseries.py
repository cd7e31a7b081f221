"""Networks on series (batch, channels, time)."""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from tests.graph.zoo.entry import Network
from tests.graph.zoo.layers import Branches, Mean, Residual, Transposed
from tests.graph.zoo.transformers_vision import pretrained


def conv(c_in: int, c_out: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv1d(c_in, c_out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm1d(c_out)]


def head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(channels, 5)]


class Chomp(nn.Module):
    """Drops what a padded convolution sees of the future."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, : -self.size].contiguous()


class Last(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, -1]


def tcn() -> nn.Module:
    """Causal dilated convolutions with weight norm (arXiv:1803.01271)."""

    def block(c_in: int, dilation: int) -> nn.Module:
        pad = 2 * dilation
        layers: list[nn.Module] = []
        for channels in (c_in, 8):
            layers += [
                weight_norm(nn.Conv1d(channels, 8, 3, padding=pad, dilation=dilation)),
                Chomp(pad),
                nn.ReLU(),
                nn.Dropout(),
            ]
        return Residual(nn.Sequential(*layers), nn.Conv1d(c_in, 8, 1) if c_in != 8 else None, nn.ReLU())

    return nn.Sequential(block(3, 1), block(8, 2), block(8, 4), Last(), nn.Linear(8, 5))


def padded_tcn() -> nn.Module:
    """The same by padding on the left only."""
    layers: list[nn.Module] = []
    for c_in, dilation in ((3, 1), (8, 2), (8, 4)):
        layers += [nn.ConstantPad1d((2 * dilation, 0), 0.0), nn.Conv1d(c_in, 8, 3, dilation=dilation), nn.SiLU()]
    return nn.Sequential(*layers, Last(), nn.Linear(8, 5))


def ecg_resnet() -> nn.Module:
    def block(c_in: int, c_out: int) -> nn.Module:
        body = [*conv(c_in, c_out, 15, 2), nn.ReLU(), nn.Dropout(), *conv(c_out, c_out, 15)]
        return Residual(nn.Sequential(*body), nn.Sequential(nn.MaxPool1d(2), nn.Conv1d(c_in, c_out, 1)), nn.ReLU())

    return nn.Sequential(*conv(12, 8, 15), nn.ReLU(), block(8, 8), block(8, 12), *head(12))


class Inception(nn.Module):
    """InceptionTime: a bottleneck, three widths of filters, and a pooled branch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.narrow = nn.Conv1d(channels, 4, 1, bias=False)
        self.wide = Branches(*(nn.Conv1d(4, 4, kernel, padding="same", bias=False) for kernel in (9, 19, 39)))
        self.pooled = nn.Sequential(nn.MaxPool1d(3, 1, 1), nn.Conv1d(channels, 4, 1, bias=False))
        self.end = nn.Sequential(nn.BatchNorm1d(16), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.end(torch.cat([self.wide(self.narrow(x)), self.pooled(x)], dim=1))
        return y


def inception_time() -> nn.Module:
    body = nn.Sequential(Inception(2), Inception(16), Inception(16))
    return nn.Sequential(Residual(body, nn.Sequential(*conv(2, 16, 1)), nn.ReLU()), *head(16))


def fcn() -> nn.Module:
    return nn.Sequential(*conv(1, 8, 7), nn.ReLU(), *conv(8, 12, 5), nn.ReLU(), *conv(12, 8, 3), nn.ReLU(), *head(8))


class Rocket(nn.Module):
    """Random kernels, then the maximum and a smooth share of positive values of each."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = nn.ModuleList(nn.Conv1d(1, 10, 9, dilation=d, padding=4 * d) for d in (1, 2, 4))
        self.fc = nn.Linear(60, 5)

    def forward(self, x: Tensor) -> Tensor:
        maps = [kernel(x) for kernel in self.kernels]
        features = [y.amax(dim=2) for y in maps] + [torch.sigmoid(10 * y).mean(dim=2) for y in maps]
        return self.fc(torch.cat(features, dim=1))


def eegnet() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(1, 4, (1, 16), padding="same", bias=False), nn.BatchNorm2d(4)]
    layers += [
        nn.Conv2d(4, 8, (8, 1), groups=4, bias=False),
        nn.BatchNorm2d(8),
        nn.ELU(),
        nn.AvgPool2d((1, 4)),
        nn.Dropout(),
    ]
    layers += [nn.Conv2d(8, 8, (1, 8), padding="same", groups=8, bias=False), nn.Conv2d(8, 8, 1, bias=False)]
    return nn.Sequential(*layers, nn.BatchNorm2d(8), nn.ELU(), nn.AvgPool2d((1, 8)), nn.Flatten(), nn.Linear(16, 5))


def mixer() -> nn.Module:
    """TSMixer: layers over time and over channels in turn."""

    def block() -> list[nn.Module]:
        over_time = nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Dropout())
        over_channels = Transposed(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 3)))
        return [Residual(over_time), Residual(over_channels)]

    return nn.Sequential(*block(), *block(), nn.Flatten(), nn.Linear(72, 5))


class PatchTransformer(nn.Module):
    """Patches of a series as tokens (unfold), one encoder layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 12)
        layer = nn.TransformerEncoderLayer(12, 2, 20, batch_first=True)
        self.end = nn.Sequential(nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), Mean(), nn.Linear(12, 5))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.end(self.embed(x[:, 0].unfold(1, 8, 4)))
        return y


def patchtsmixer() -> nn.Module:
    return pretrained(
        "PatchTSMixerForTimeSeriesClassification", "PatchTSMixerConfig", "prediction_outputs", num_targets=5,
        context_length=32, patch_length=8, patch_stride=8,
        num_input_channels=2, d_model=8, num_layers=1, expansion_factor=2,
    )  # fmt: skip


class Trend(nn.Module):
    """DLinear: a moving average and the rest, each through a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.average = nn.AvgPool1d(9, 1)
        self.trend, self.season, self.end = nn.Linear(32, 12), nn.Linear(32, 12), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        padded = torch.cat([x[:, :, :1].repeat(1, 1, 4), x, x[:, :, -1:].repeat(1, 1, 4)], dim=2)
        trend = self.average(padded)
        return self.end((self.trend(trend) + self.season(x - trend)).flatten(1))


class ConvGru(nn.Module):
    """A recurrent cell written out over eight steps (an unrolled loop is a plain graph)."""

    def __init__(self) -> None:
        super().__init__()
        self.gates, self.candidate, self.fc = nn.Linear(11, 16), nn.Linear(11, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros_like(x[:, :1, 0]).repeat(1, 8)
        for step in x.unbind(2):
            reset, update = torch.sigmoid(self.gates(torch.cat([step, state], dim=1))).chunk(2, dim=1)
            fresh = torch.tanh(self.candidate(torch.cat([step, reset * state], dim=1)))
            state = update * state + (1 - update) * fresh
        return self.fc(state)


NETWORKS = [
    Network("TCN", "tcn", tcn, (3, 32), (20,), (13,)),
    Network("TCN", "tcn_padded", padded_tcn, (3, 32), (23,), (17,)),
    Network("ECG ResNet", "ecg_resnet", ecg_resnet, (12, 64), (21,), (14,)),
    Network("InceptionTime", "inception_time", inception_time, (2, 48), (22,), (15,)),
    Network("Time-series FCN", "fcn_time", fcn, (1, 48), (18,), (16,)),
    Network("ROCKET", "rocket", Rocket, (1, 48), (19,), (17,)),
    Network("EEGNet", "eegnet", eegnet, (1, 8, 64), (23,), (18,)),
    Network("TSMixer", "tsmixer", mixer, (3, 24), (20,), (13,)),
    Network("TSMixer", "patchtsmixer", patchtsmixer, (32, 2), (21,), failing=(17,)),
    Network("DLinear", "dlinear", Trend, (2, 32), (18,), (16,)),
    Network("Unrolled GRU", "unrolled_gru", ConvGru, (3, 8), (19,), (17,)),
]
