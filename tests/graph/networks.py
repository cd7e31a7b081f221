"""The networks that people upload, small: written here so that the tests need no model zoo."""

import torch
from torch import Tensor, nn


class ViewLeNet(nn.Module):
    """LeNet-5 with ``x.view(x.size(0), -1)``, which exporters write as arithmetic on shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.head = nn.Sequential(nn.Linear(16 * 5 * 5, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.head(x.view(x.size(0), -1))


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(48, 20), nn.BatchNorm1d(20), nn.GELU(), nn.Linear(20, 16), nn.SiLU(), nn.Linear(16, 4)
    )


def vgg() -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for width in (8, "M", 12, 12, "M", 16, "M"):
        if width == "M":
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(channels, int(width), 3, padding=1), nn.BatchNorm2d(int(width)), nn.ReLU()]
            channels = int(width)
    head = [nn.AdaptiveAvgPool2d((2, 2)), nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Dropout(), nn.Linear(24, 10)]
    return nn.Sequential(*layers, *head)


class Block(nn.Module):
    """A residual block of ResNet: two 3x3 (basic), or 1x1, 3x3, 1x1 (bottleneck)."""

    def __init__(self, channels: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        out = 2 * width if bottleneck else width
        if bottleneck:
            shapes = [(channels, width, 1, 1), (width, width, 3, stride), (width, out, 1, 1)]
        else:
            shapes = [(channels, width, 3, stride), (width, out, 3, 1)]
        layers: list[nn.Module] = []
        for c_in, c_out, kernel, s in shapes:
            layers += [
                nn.Conv2d(c_in, c_out, kernel, s, kernel // 2, bias=False),
                nn.BatchNorm2d(c_out),
                nn.ReLU(inplace=True),
            ]
        self.body = nn.Sequential(*layers[:-1])
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        self.out = out

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class ResNet(nn.Module):
    """The stem of ImageNet (7x7/2, max pool 3x3/2), two stages of two blocks, ``torch.flatten``."""

    def __init__(self, bottleneck: bool = False) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        )
        blocks, channels = [], 8
        for width, stride in ((8, 1), (8, 1), (12, 2), (12, 1)):
            blocks.append(Block(channels, width, stride, bottleneck))
            channels = blocks[-1].out
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.pool(self.blocks(self.stem(x))), 1))


NETWORKS = {
    "mlp": (mlp, (3, 4, 4)),
    "lenet": (ViewLeNet, (1, 28, 28)),
    "vgg": (vgg, (3, 32, 32)),
    "resnet_basic": (ResNet, (3, 32, 32)),
    "resnet_bottleneck": (lambda: ResNet(bottleneck=True), (3, 32, 32)),
}


def trained(name: str, seed: int = 0) -> nn.Module:
    """The network in eval mode, with running statistics unlike those of a fresh one."""
    torch.manual_seed(seed)
    network: nn.Module = NETWORKS[name][0]()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    return network.eval()
