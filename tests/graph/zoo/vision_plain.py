"""Networks of convolutions one after another, for images."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.graph.networks import NETWORKS as CLASSICS
from tests.graph.zoo.entry import Network
from tests.graph.zoo.layers import Branches, conv_norm, head

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


def instance_norm_cnn() -> nn.Module:
    return nn.Sequential(
        nn.ReflectionPad2d(1), nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8, affine=True), nn.LeakyReLU(0.1),
        nn.ReplicationPad2d(1), nn.Conv2d(8, 8, 3, 2), nn.InstanceNorm2d(8), nn.LeakyReLU(0.1),
        nn.Flatten(), nn.Linear(512, 5),
    )  # fmt: skip


def classic(name: str) -> Callable[[], nn.Module]:
    return CLASSICS[name][0]


# fmt: off
NETWORKS = [
    Network("MLP", "mlp_image", classic("mlp"), (3, 4, 4), (23,), (13,)),
    Network("LeNet", "lenet", lenet, (1, 28, 28), (19,), (9, 15), dynamic=False),
    Network("LeNet", "lenet_view", classic("lenet"), (1, 28, 28), (20,), (11,)),
    Network("AlexNet", "alexnet", alexnet, (3, 64, 64), (18,), (14,)),
    Network("VGG", "vgg", classic("vgg"), (3, 32, 32), (22,), (12,)),
    Network("VGG", "vgg_normalized", normalized_vgg, IMAGE, (21,), (16,)),
    Network("Inception", "googlenet", inception, IMAGE, (21,), (16,)),
    Network("SqueezeNet", "squeezenet", squeezenet, (3, 33, 33), (22,), (17,)),
    Network("Network in network", "nin", network_in_network, IMAGE, (23,), (18,)),
    Network("All-convolutional", "all_cnn", all_convolutional, IMAGE, (18,), (13,)),
    Network("CoordConv", "coordconv", CoordinateCNN, IMAGE, (22,), (17,)),
    Network("Pyramid pooling", "pyramid_pooling", PyramidPooling, IMAGE, (23,), (18,)),
    Network("U-Net encoder", "unet_classifier", UNetClassifier, IMAGE, (18,), (13,)),
    Network("Upsampling", "pixel_shuffle", super_resolution_classifier, IMAGE, (19,), (14,)),
    Network("Instance norm", "instance_norm_cnn", instance_norm_cnn, IMAGE, (22,), (17,)),
]
# fmt: on
