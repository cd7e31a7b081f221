"""What an entry of the zoo is, and how the weights of its networks are drawn."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tests.graph.export import export

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """A torch network and the ways it is exported: opsets of the dynamo and of the TorchScript exporter.

    ``failing``: opsets at which the other exporter fails itself, or writes what onnxruntime can't load.
    """

    family: str
    name: str
    build: Callable[[], nn.Module]
    shape: Shape
    dynamo: tuple[int, ...] = ()
    legacy: tuple[int, ...] = ()
    dynamic: bool = True
    failing: tuple[int, ...] = ()

    def ways(self) -> str:
        """As the table has it: ``dynamo 18, 23; TorchScript 13``."""
        exporters = (("dynamo", self.dynamo), ("TorchScript", self.legacy))
        ways = [f"{exporter} {', '.join(map(str, opsets))}" for exporter, opsets in exporters if opsets]
        if self.failing:
            ways.append(f"{'TorchScript' if self.dynamo else 'dynamo'} fails itself")
        return "; ".join(ways)

    def files(self) -> Iterator[bytes]:
        for dynamo, opsets in ((True, self.dynamo), (False, self.legacy)):
            for opset in opsets:
                yield self.exported(opset, dynamo=dynamo)

    def exported(self, opset: int, *, dynamo: bool) -> bytes:
        """The file of one exporter."""
        with warnings.catch_warnings():  # tracing warns of every Python branch in the networks of others
            warnings.simplefilter("ignore")
            return export(made(self), self.shape, dynamo=dynamo, opset=opset, dynamic=self.dynamic)


@dataclass(frozen=True)
class Handmade:
    """Files written by `onnx.helper`, as converters and older exporters write them."""

    family: str
    name: str
    write: Callable[[int], bytes]
    shape: Shape
    opsets: tuple[int, ...]
    dynamic: bool = True

    def ways(self) -> str:
        return f"by hand {', '.join(map(str, self.opsets))}"

    def files(self) -> Iterator[bytes]:
        return map(self.write, self.opsets)


def made(network: Network) -> nn.Module:
    """The network in eval mode, always the same; its normalisations as training leaves them, unlike fresh ones."""
    torch.manual_seed(0)
    module = network.build().eval()
    for layer in module.modules():
        if isinstance(layer, _BatchNorm | nn.LayerNorm | nn.GroupNorm | nn.RMSNorm):
            for value, centre in ((layer.weight, 1.0), (getattr(layer, "bias", None), 0.0)):
                if value is not None:
                    nn.init.normal_(value, mean=centre, std=0.2)
        if isinstance(layer, _BatchNorm):
            layer.momentum = 0.9
            layer.train()
    with torch.no_grad():
        module(torch.randn(8, *network.shape))
    return module.eval()
