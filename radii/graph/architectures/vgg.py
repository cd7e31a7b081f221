"""VGG (Simonyan and Zisserman 2015), with torchvision's names."""

from radii.architectures import Vgg
from radii.graph.architectures.builder import Builder


def vgg(net: Builder, parameters: Vgg) -> None:
    position = 0
    for width in parameters.widths:
        if width == 0:
            net.max_pool(2, 2)
            position += 1
            continue
        net.conv(f"features.{position}", width, 3, padding=1, bias=True)
        if parameters.batch_norm:
            net.batch_norm(f"features.{position + 1}")
        net.activation("relu")
        position += 2 + parameters.batch_norm
    net.average_pool(parameters.pool)
    net.flatten()
    for name in ("classifier.0", "classifier.3"):
        net.linear(name, parameters.hidden)
        net.activation("relu")
    net.linear("classifier.6", parameters.num_classes)
