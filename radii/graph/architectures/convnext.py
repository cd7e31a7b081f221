"""ConvNeXt (Liu et al. 2022), with torchvision's names."""

from radii.architectures import Convnext
from radii.graph.architectures.builder import Builder

TO_LAST, TO_FIRST = (1, 2, 0), (2, 0, 1)  # the channels' axis of a sample


def convnext(net: Builder, parameters: Convnext) -> None:
    net.conv("features.0.0", parameters.widths[0], parameters.patch, stride=parameters.patch, bias=True)
    _norm(net, "features.0.1")
    for stage, (blocks, width) in enumerate(zip(parameters.layers, parameters.widths, strict=True)):
        if stage:
            _norm(net, f"features.{2 * stage}.0")
            net.conv(f"features.{2 * stage}.1", width, 2, stride=2, bias=True)
        for number in range(blocks):
            _block(net, f"features.{2 * stage + 1}.{number}", width)
    net.mean()
    net.layer_norm("classifier.0")
    net.linear("classifier.2", parameters.num_classes)


def _norm(net: Builder, name: str) -> None:
    net.permute(*TO_LAST)
    net.layer_norm(name)
    net.permute(*TO_FIRST)


def _block(net: Builder, name: str, width: int) -> None:
    source = net.at
    net.conv(f"{name}.block.0", width, 7, padding=3, groups=width, bias=True)
    net.permute(*TO_LAST)
    net.layer_norm(f"{name}.block.2")
    net.linear(f"{name}.block.3", 4 * width)
    net.activation("gelu")
    net.linear(f"{name}.block.5", width)
    net.permute(*TO_FIRST)
    net.scale(f"{name}.layer_scale")
    net.plus(source)
