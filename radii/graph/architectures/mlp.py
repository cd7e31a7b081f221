"""``nn.Sequential(nn.Flatten(), nn.Linear(...), [nn.BatchNorm1d(...)], activation, ..., nn.Linear(...))``."""

from radii.architectures import Mlp
from radii.graph.architectures.builder import Builder


def mlp(net: Builder, parameters: Mlp) -> None:
    net.flatten()
    position = 1
    for units in parameters.hidden:
        net.linear(f"{position}", units)
        if parameters.batch_norm:
            net.batch_norm(f"{position + 1}")
        net.activation(parameters.activation)
        position += 2 + parameters.batch_norm
    net.linear(f"{position}", parameters.num_classes)
