"""Residual networks for images, and what else adds or joins a layer with its input."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.graph.networks import NETWORKS as CLASSICS
from tests.graph.networks import Block
from tests.graph.zoo.entry import Network
from tests.graph.zoo.layers import Branches, Residual, Scale, conv_norm, head

IMAGE = (3, 16, 16)


def residual(depth: int, *, bottleneck: bool, widths: tuple[int, ...] = (4, 6, 8)) -> Callable[[], nn.Module]:
    """ResNet with ``depth`` blocks a stage."""

    def build() -> nn.Module:
        layers: list[nn.Module] = [*conv_norm(3, widths[0], 3), nn.ReLU()]
        channels = widths[0]
        for stage, width in enumerate(widths):
            for i in range(depth):
                block = Block(channels, width, 2 if stage and not i else 1, bottleneck)
                layers.append(block)
                channels = block.out
        return nn.Sequential(*layers, head(channels))

    return build


def preactivation(widen: int) -> nn.Module:
    """The block of wide ResNets: norm and ReLU before each convolution, dropout between."""

    def block(c_in: int, c_out: int, stride: int) -> nn.Module:
        body = nn.Sequential(
            nn.BatchNorm2d(c_in), nn.ReLU(), nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(c_out), nn.ReLU(), nn.Dropout(0.3), nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False),
        )  # fmt: skip
        return Residual(body, nn.Conv2d(c_in, c_out, 1, stride, bias=False) if c_in != c_out else None)

    a, b = 4 * widen, 6 * widen
    blocks = [block(4, a, 1), block(a, a, 1), block(a, b, 2), block(b, b, 1)]
    return nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1, bias=False), *blocks, nn.BatchNorm2d(b), nn.ReLU(), head(b))


def resnext() -> nn.Module:
    def block(channels: int) -> nn.Module:
        body = [*conv_norm(channels, 8, 1), nn.ReLU(), *conv_norm(8, 8, 3, groups=4), nn.ReLU()]
        return Residual(nn.Sequential(*body, *conv_norm(8, channels, 1)), after=nn.ReLU())

    return nn.Sequential(*conv_norm(3, 12, 3, 2), nn.ReLU(), block(12), block(12), head(12))


def se_resnet() -> nn.Module:
    def block() -> nn.Module:
        body = [*conv_norm(8, 8, 3), nn.ReLU(), *conv_norm(8, 8, 3), Scale(8, 2, nn.Sigmoid())]
        return Residual(nn.Sequential(*body), after=nn.ReLU())

    return nn.Sequential(*conv_norm(3, 8, 3, 2), nn.ReLU(), block(), block(), head(8))


def group_norm_resnet() -> nn.Module:
    def block() -> nn.Module:
        body = [nn.Conv2d(8, 8, 3, 1, 1), nn.GroupNorm(4, 8), nn.SiLU(), nn.Conv2d(8, 8, 3, 1, 1), nn.GroupNorm(2, 8)]
        return Residual(nn.Sequential(*body), after=nn.SiLU())

    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), block(), nn.AvgPool2d(2), block(), head(8))


def densenet() -> nn.Module:
    def layer(channels: int, growth: int = 4) -> nn.Module:
        body = [nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, 8, 1, bias=False)]
        body += [nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, growth, 3, 1, 1, bias=False)]
        return Branches(nn.Identity(), nn.Sequential(*body))

    transition = [nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 1, bias=False), nn.AvgPool2d(2)]
    layers = [layer(8), layer(12), *transition, layer(8), layer(12), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), *layers, head(16))


class RepVGGBlock(nn.Module):
    """3x3, 1x1 and identity in parallel, each with batch norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.wide = nn.Sequential(*conv_norm(channels, channels, 3))
        self.narrow = nn.Sequential(*conv_norm(channels, channels, 1))
        self.same = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.wide(x) + self.narrow(x) + self.same(x))


def repvgg() -> nn.Module:
    return nn.Sequential(*conv_norm(3, 8, 3, 2), nn.ReLU(), RepVGGBlock(8), RepVGGBlock(8), head(8))


class StandardizedConv(nn.Conv2d):
    """Weight standardisation, with a gain: the convolution of normaliser-free networks."""

    def forward(self, x: Tensor) -> Tensor:
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        std = self.weight.var((1, 2, 3), keepdim=True, unbiased=False).add(1e-5).sqrt()
        return nn.functional.conv2d(x, (self.weight - mean) / std * 0.3, self.bias, self.stride, self.padding)


class NFBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = StandardizedConv(channels, 8, 3, 1, 1), StandardizedConv(8, channels, 3, 1, 1)
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.gelu(x) * 1.7015
        return x + 0.2 * self.gain * self.second(nn.functional.gelu(self.first(y)) * 1.7015)


def nfnet() -> nn.Module:
    return nn.Sequential(StandardizedConv(3, 8, 3, 2, 1), NFBlock(8), NFBlock(8), nn.GELU(), head(8))


class HighwayCNN(nn.Module):
    """A gate mixes a layer with its input."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.layer, self.gate = nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 1, 1)
        self.head = head(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        gate = torch.sigmoid(self.gate(x))
        y: Tensor = self.head(gate * torch.relu(self.layer(x)) + (1 - gate) * x)
        return y


class OdeCNN(nn.Module):
    """Euler steps of one convolution, the weights shared."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.field, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1), head(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(4):
            x = x + 0.25 * torch.tanh(self.field(x))
        y: Tensor = self.head(x)
        return y


def classic(name: str) -> Callable[[], nn.Module]:
    return CLASSICS[name][0]


# fmt: off
NETWORKS = [
    Network("ResNet", "resnet_18", residual(2, bottleneck=False, widths=(4, 6, 8, 10)), IMAGE, (23,), (13,)),
    Network("ResNet", "resnet_50", residual(4, bottleneck=True, widths=(4, 6, 8, 10)), IMAGE, (21,), (17,)),
    Network("ResNet", "resnet_110", residual(18, bottleneck=False), (3, 8, 8), (), (18,)),
    Network("ResNet", "resnet_imagenet", classic("resnet_bottleneck"), (3, 32, 32), (20,), (10,),
        dynamic=False),
    Network("ResNet", "resnet_group_norm", group_norm_resnet, IMAGE, (21,), (18,)),
    Network("ResNeXt", "resnext", resnext, IMAGE, (18,), (13,)),
    Network("SENet", "se_resnet", se_resnet, IMAGE, (19,), (14,)),
    Network("WideResNet", "wide_resnet_2", lambda: preactivation(2), IMAGE, (22,), (15,)),
    Network("WideResNet", "preact_resnet", lambda: preactivation(1), IMAGE, (18,), (14,)),
    Network("DenseNet", "densenet", densenet, IMAGE, (23,), (16,)),
    Network("RepVGG", "repvgg", repvgg, IMAGE, (20,), (15,)),
    Network("NFNet", "nfnet", nfnet, IMAGE, (21,), (16,)),
    Network("Highway", "highway_cnn", HighwayCNN, IMAGE, (20,), (15,)),
    Network("Neural ODE", "ode_cnn", OdeCNN, IMAGE, (21,), (16,)),
]
# fmt: on
