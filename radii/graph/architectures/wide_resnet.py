"""WideResNet (Zagoruyko and Komodakis 2016), with the names of TRADES' ``models/wideresnet.py``."""

from radii.architectures import WideResnet
from radii.graph.architectures.builder import Builder


def wide_resnet(net: Builder, parameters: WideResnet) -> None:
    net.conv("conv1", 16, 3, padding=1, bias=False)
    for stage in range(3):
        for number in range((parameters.depth - 4) // 6):
            stride = 2 if stage and not number else 1
            _block(net, f"block{stage + 1}.layer.{number}", 16 * 2**stage * parameters.width, stride)
    net.batch_norm("bn1")
    net.activation("relu")
    net.mean()
    net.linear("fc", parameters.num_classes)


def _block(net: Builder, name: str, width: int, stride: int) -> None:
    source, same = net.at, net.shape[0] == width
    net.batch_norm(f"{name}.bn1")
    opened = net.activation("relu")
    net.conv(f"{name}.conv1", width, 3, stride=stride, padding=1, bias=False)
    net.batch_norm(f"{name}.bn2")
    net.activation("relu")
    body = net.conv(f"{name}.conv2", width, 3, padding=1, bias=False)
    if not same:
        net.at = opened
        source = net.conv(f"{name}.convShortcut", width, 1, stride=stride, bias=False)
        net.at = body
    net.plus(source)
