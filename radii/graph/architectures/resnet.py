"""ResNet (He et al. 2016), with torchvision's names."""

from radii.architectures import Resnet
from radii.graph.architectures.builder import Builder


def resnet(net: Builder, parameters: Resnet) -> None:
    if parameters.stem == "imagenet":
        net.conv("conv1", parameters.width, 7, stride=2, padding=3, bias=False)
    else:
        net.conv("conv1", parameters.width, 3, padding=1, bias=False)
    net.batch_norm("bn1")
    net.activation("relu")
    if parameters.stem == "imagenet":
        net.max_pool(3, 2, 1)
    for stage, blocks in enumerate(parameters.layers):
        for number in range(blocks):
            stride = 2 if stage and not number else 1
            _block(net, f"layer{stage + 1}.{number}", parameters.width * 2**stage, stride, parameters.block)
    net.mean()
    net.linear("fc", parameters.num_classes)


def _block(net: Builder, name: str, width: int, stride: int, kind: str) -> None:
    source, channels = net.at, net.shape[0]
    if kind == "basic":
        convolutions = [(width, 3, stride), (width, 3, 1)]
    else:
        convolutions = [(width, 1, 1), (width, 3, stride), (4 * width, 1, 1)]
    for number, (out, kernel, step) in enumerate(convolutions, start=1):
        if number > 1:
            net.activation("relu")
        net.conv(f"{name}.conv{number}", out, kernel, stride=step, padding=kernel // 2, bias=False)
        net.batch_norm(f"{name}.bn{number}")
    body = net.at
    if stride != 1 or channels != net.shape[0]:
        out = net.shape[0]
        net.at = source
        net.conv(f"{name}.downsample.0", out, 1, stride=stride, bias=False)
        source = net.batch_norm(f"{name}.downsample.1")
    net.at = body
    net.plus(source)
    net.activation("relu")
