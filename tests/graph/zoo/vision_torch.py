"""Convolutional networks for images, in plain torch."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.graph.networks import NETWORKS as CLASSICS
from tests.graph.networks import Block
from tests.graph.zoo.entry import Network
from tests.graph.zoo.layers import Branches, Residual, Scale, conv_norm, head

IMAGE = (3, 16, 16)


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(96, 16), nn.ReLU(), nn.Linear(16, 5),
    )  # fmt: skip


def alexnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 11, 4, 2), nn.ReLU(inplace=True), nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2),
        nn.Conv2d(8, 8, 5, padding=2, groups=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Dropout(), nn.Linear(8, 12), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(12, 5),
    )  # fmt: skip


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


def instance_norm_cnn() -> nn.Module:
    return nn.Sequential(
        nn.ReflectionPad2d(1), nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8, affine=True), nn.LeakyReLU(0.1),
        nn.ReplicationPad2d(1), nn.Conv2d(8, 8, 3, 2), nn.InstanceNorm2d(8), nn.LeakyReLU(0.1),
        nn.Flatten(), nn.Linear(512, 5),
    )  # fmt: skip


def densenet() -> nn.Module:
    def layer(channels: int, growth: int = 4) -> nn.Module:
        body = [nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, 8, 1, bias=False)]
        body += [nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, growth, 3, 1, 1, bias=False)]
        return Branches(nn.Identity(), nn.Sequential(*body))

    transition = [nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 1, bias=False), nn.AvgPool2d(2)]
    layers = [layer(8), layer(12), *transition, layer(8), layer(12), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), *layers, head(16))


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


def inception() -> nn.Module:
    def block(channels: int) -> nn.Module:
        return Branches(
            nn.Sequential(*conv_norm(channels, 4, 1), nn.ReLU()),
            nn.Sequential(*conv_norm(channels, 4, 1), nn.ReLU(), *conv_norm(4, 4, 3), nn.ReLU()),
            nn.Sequential(*conv_norm(channels, 4, 1), nn.ReLU(), *conv_norm(4, 4, 5), nn.ReLU()),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), *conv_norm(channels, 4, 1), nn.ReLU()),
        )

    stem = [*conv_norm(3, 8, 3), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)]
    return nn.Sequential(
        *stem, block(8), nn.AvgPool2d(3, 2, ceil_mode=True, count_include_pad=False), block(16), head(16)
    )


def squeezenet() -> nn.Module:
    def fire(channels: int) -> list[nn.Module]:
        expand = Branches(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1))
        return [nn.Conv2d(channels, 4, 1), nn.ReLU(inplace=True), expand, nn.ReLU(inplace=True)]

    stem = [nn.Conv2d(3, 8, 3, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True)]
    end = [nn.Dropout(), nn.Conv2d(8, 5, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*stem, *fire(8), *fire(8), *end)


def network_in_network() -> nn.Module:
    layers = [nn.Conv2d(3, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 1), nn.AvgPool2d(8), nn.Flatten()]
    return nn.Sequential(*layers)


def all_convolutional() -> nn.Module:
    layers = [
        nn.Conv2d(3, 8, 3, 1, 1),
        nn.ELU(),
        nn.Conv2d(8, 8, 3, 2, 1),
        nn.ELU(),
        nn.Conv2d(8, 8, 3, 2, 1),
        nn.ELU(),
    ]
    return nn.Sequential(*layers, nn.Conv2d(8, 5, 4), nn.Flatten())


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


class CoordinateCNN(nn.Module):
    """CoordConv: two channels that say where a pixel lies."""

    def __init__(self) -> None:
        super().__init__()
        line = torch.linspace(-1, 1, 16)
        self.register_buffer("grid", torch.stack(torch.meshgrid(line, line, indexing="ij"))[None])
        self.body = nn.Sequential(nn.Conv2d(5, 8, 3, 2), nn.Softplus(), nn.MaxPool2d(2), head(8))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(torch.cat([x, self.grid.expand(x.size(0), -1, -1, -1)], dim=1))  # type: ignore[operator]
        return y


class PyramidPooling(nn.Module):
    """Spatial pyramid pooling: maxima over 1, 4 and 16 parts of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 1, 1), nn.Mish())
        self.fc = nn.Linear(6 * 21, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.fc(torch.cat([nn.functional.adaptive_max_pool2d(x, n).flatten(1) for n in (1, 2, 4)], dim=1))


class UNetClassifier(nn.Module):
    """An encoder and a decoder, a skip between them, the map averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(*conv_norm(3, 8, 3), nn.ReLU())
        self.low = nn.Sequential(nn.MaxPool2d(2), *conv_norm(8, 12, 3), nn.ReLU())
        self.up = nn.ConvTranspose2d(12, 8, 2, 2)
        self.end = nn.Sequential(*conv_norm(16, 8, 3), nn.ReLU(), head(8))

    def forward(self, x: Tensor) -> Tensor:
        high = self.down(x)
        y: Tensor = self.end(torch.cat([high, self.up(self.low(high))], dim=1))
        return y


def super_resolution_classifier() -> nn.Module:
    """PixelShuffle and nearest upsampling before the head."""
    layers = [
        nn.Conv2d(3, 16, 3, 1, 1),
        nn.PixelShuffle(2),
        nn.PReLU(4),
        nn.Conv2d(4, 6, 3, 2, 1),
        nn.Upsample(scale_factor=2),
    ]
    return nn.Sequential(*layers, nn.Conv2d(6, 8, 3, 4), nn.Hardtanh(), head(8))


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


def normalized_vgg() -> nn.Module:
    """Inputs normalised inside the network."""

    class Normalize(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.tensor([0.49, 0.48, 0.44]).view(1, 3, 1, 1))
            self.register_buffer("std", torch.tensor([0.2, 0.21, 0.22]).view(1, 3, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return (x - self.mean) / self.std  # type: ignore[operator]

    return nn.Sequential(
        Normalize(),
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3),
        nn.ReLU(),
        nn.Flatten(1),
        nn.Linear(200, 5),
        nn.LogSoftmax(1),
    )


def classic(name: str) -> Callable[[], nn.Module]:
    return CLASSICS[name][0]  # type: ignore[return-value]


# fmt: off
NETWORKS = [
    Network("MLP", "mlp_image", classic("mlp"), (3, 4, 4), (23,), (13,)),
    Network("LeNet", "lenet", lenet, (1, 28, 28), (19,), (9, 15), dynamic=False),
    Network("LeNet", "lenet_view", classic("lenet"), (1, 28, 28), (20,), (11,)),
    Network("AlexNet", "alexnet", alexnet, (3, 64, 64), (18,), (14,)),
    Network("VGG", "vgg", classic("vgg"), (3, 32, 32), (22,), (12,)),
    Network("VGG", "vgg_normalized", normalized_vgg, IMAGE, (21,), (16,)),
    Network("ResNet", "resnet_18", residual(2, bottleneck=False, widths=(4, 6, 8, 10)), IMAGE, (23,), (13,)),
    Network("ResNet", "resnet_50", residual(4, bottleneck=True, widths=(4, 6, 8, 10)), IMAGE, (), (17,)),
    Network("ResNet", "resnet_110", residual(18, bottleneck=False), (3, 8, 8), (), (18,)),
    Network("ResNet", "resnet_imagenet", classic("resnet_bottleneck"), (3, 32, 32), (20,), (10,),
        dynamic=False),
    Network("ResNet", "resnet_group_norm", group_norm_resnet, IMAGE, (21,), (18,)),
    Network("ResNeXt", "resnext", resnext, IMAGE, (18,), (13,)),
    Network("SENet", "se_resnet", se_resnet, IMAGE, (19,), (14,)),
    Network("WideResNet", "wide_resnet_2", lambda: preactivation(2), IMAGE, (22,), (15,)),
    Network("WideResNet", "preact_resnet", lambda: preactivation(1), IMAGE, (18,)),
    Network("DenseNet", "densenet", densenet, IMAGE, (23,), (16,)),
    Network("MobileNetV1", "mobilenet_v1_torch", mobilenet_v1, IMAGE, (21,), (17,)),
    Network("MobileNetV2", "mobilenet_v2_torch", mobilenet_v2, IMAGE, (22,), (9,)),
    Network("MobileNetV3", "mobilenet_v3", mobilenet_v3, IMAGE, (18, 23), (13, 18)),
    Network("EfficientNet", "efficientnet_torch", efficientnet, IMAGE, (22,), (13,)),
    Network("ShuffleNet", "shufflenet_v2", shufflenet, IMAGE, (19,), (14,)),
    Network("RepVGG", "repvgg", repvgg, IMAGE, (20,), (15,)),
    Network("Inception", "googlenet", inception, IMAGE, (21,), (16,)),
    Network("SqueezeNet", "squeezenet", squeezenet, (3, 33, 33), (22,), (17,)),
    Network("Network in network", "nin", network_in_network, IMAGE, (23,), (18,)),
    Network("All-convolutional", "all_cnn", all_convolutional, IMAGE, (18,), (13,)),
    Network("ConvMixer", "convmixer", convmixer, IMAGE, (19,), (14,)),
    Network("GhostNet", "ghostnet", ghostnet, IMAGE, (20,), (15,)),
    Network("NFNet", "nfnet", nfnet, IMAGE, (21,), (16,)),
    Network("CoordConv", "coordconv", CoordinateCNN, IMAGE, (22,), (17,)),
    Network("Pyramid pooling", "pyramid_pooling", PyramidPooling, IMAGE, (23,), (18,)),
    Network("U-Net encoder", "unet_classifier", UNetClassifier, IMAGE, (18,), (13,)),
    Network("Upsampling", "pixel_shuffle", super_resolution_classifier, IMAGE, (19,), (14,)),
    Network("Highway", "highway_cnn", HighwayCNN, IMAGE, (20,), (15,)),
    Network("Neural ODE", "ode_cnn", OdeCNN, IMAGE, (21,), (16,)),
    Network("Instance norm", "instance_norm_cnn", instance_norm_cnn, IMAGE, (22,), (17,)),
]
# fmt: on
