"""Small networks for images: depthwise convolutions, inverted residuals, shuffled channels."""

import torch
from torch import Tensor, nn

from tests.graph.zoo.entry import Network
from tests.graph.zoo.layers import Residual, Scale, conv_norm, head

IMAGE = (3, 16, 16)


def inverted(c_in: int, c_out: int, kernel: int, stride: int, activation: nn.Module, scale: bool) -> nn.Module:
    """The inverted residual of MobileNetV3."""
    wide = 3 * c_in
    body = [*conv_norm(c_in, wide, 1), activation, *conv_norm(wide, wide, kernel, stride, wide), activation]
    body += [Scale(wide, 4, nn.Hardsigmoid())] if scale else []
    body += conv_norm(wide, c_out, 1)
    return Residual(nn.Sequential(*body)) if c_in == c_out and stride == 1 else nn.Sequential(*body)


def mobilenet_v3() -> nn.Module:
    blocks = [inverted(8, 8, 3, 1, nn.ReLU(), False), inverted(8, 12, 5, 2, nn.Hardswish(), True)]
    blocks += [inverted(12, 12, 5, 1, nn.Hardswish(), True)]
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 16), nn.Hardswish(), nn.Dropout(), nn.Linear(16, 5)]
    return nn.Sequential(*conv_norm(3, 8, 3, 2), nn.Hardswish(), *blocks, *end)


def mobilenet_v1() -> nn.Module:
    layers = [*conv_norm(3, 8, 3, 2), nn.ReLU()]
    for c_in, c_out, stride in ((8, 12, 1), (12, 16, 2), (16, 16, 1)):
        layers += [*conv_norm(c_in, c_in, 3, stride, c_in), nn.ReLU(), *conv_norm(c_in, c_out, 1), nn.ReLU()]
    return nn.Sequential(*layers, head(16))


def mobilenet_v2() -> nn.Module:
    blocks = [inverted(8, 8, 3, 1, nn.ReLU6(), False), inverted(8, 12, 3, 2, nn.ReLU6(), False)]
    return nn.Sequential(
        *conv_norm(3, 8, 3, 2), nn.ReLU6(), *blocks, inverted(12, 12, 3, 1, nn.ReLU6(), False), head(12)
    )


def efficientnet() -> nn.Module:
    def block(c_in: int, c_out: int, stride: int) -> nn.Module:
        body = [*conv_norm(c_in, 16, 1), nn.SiLU(), *conv_norm(16, 16, 3, stride, 16), nn.SiLU()]
        body += [Scale(16, 4, nn.Sigmoid()), *conv_norm(16, c_out, 1)]
        return Residual(nn.Sequential(*body)) if c_in == c_out else nn.Sequential(*body)

    return nn.Sequential(
        *conv_norm(3, 8, 3, 2), nn.SiLU(), block(8, 8, 1), block(8, 12, 2), *conv_norm(12, 16, 1), nn.SiLU(), head(16)
    )


class ShuffleUnit(nn.Module):
    """ShuffleNetV2: half of the channels pass, the other half is convolved, then both are shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(
            *conv_norm(half, half, 1),
            nn.ReLU(),
            *conv_norm(half, half, 3, 1, half),
            *conv_norm(half, half, 1),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1)
        x = torch.cat((a, self.branch(b)), dim=1)
        n, c, h, w = x.size()
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


def shufflenet() -> nn.Module:
    return nn.Sequential(*conv_norm(3, 8, 3, 2), nn.ReLU(), ShuffleUnit(8), ShuffleUnit(8), head(8))


def convmixer() -> nn.Module:
    def block() -> list[nn.Module]:
        spatial = nn.Sequential(nn.Conv2d(8, 8, 5, groups=8, padding="same"), nn.GELU(), nn.BatchNorm2d(8))
        return [Residual(spatial), nn.Conv2d(8, 8, 1), nn.GELU(), nn.BatchNorm2d(8)]

    return nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.GELU(), nn.BatchNorm2d(8), *block(), *block(), head(8))


class GhostModule(nn.Module):
    """GhostNet: half of the channels are cheap transforms of the other half."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.primary = nn.Sequential(*conv_norm(c_in, c_out // 2, 1), nn.ReLU())
        self.cheap = nn.Sequential(*conv_norm(c_out // 2, c_out // 2, 3, groups=c_out // 2), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        first = self.primary(x)
        return torch.cat([first, self.cheap(first)], dim=1)[:, :-1]


def ghostnet() -> nn.Module:
    return nn.Sequential(
        *conv_norm(3, 8, 3, 2), nn.ReLU(), GhostModule(8, 12), nn.MaxPool2d(2), GhostModule(11, 12), head(11)
    )


# fmt: off
NETWORKS = [
    Network("MobileNetV1", "mobilenet_v1_torch", mobilenet_v1, IMAGE, (21,), (17,)),
    Network("MobileNetV2", "mobilenet_v2_torch", mobilenet_v2, IMAGE, (22,), (9,)),
    Network("MobileNetV3", "mobilenet_v3", mobilenet_v3, IMAGE, (23,), (13,)),
    Network("EfficientNet", "efficientnet_torch", efficientnet, IMAGE, (22,), (13,)),
    Network("ShuffleNet", "shufflenet_v2", shufflenet, IMAGE, (19,), (14,)),
    Network("ConvMixer", "convmixer", convmixer, IMAGE, (19,), (14,)),
    Network("GhostNet", "ghostnet", ghostnet, IMAGE, (20,), (15,)),
]
# fmt: on
