"""Networks of a named architecture from their weights: docs/architectures.md has the names of the tensors.

graph = from_weights(Resnet(layers=[3, 4, 6, 3]), Path("model.safetensors").read_bytes(), (3, 224, 224))
"""

from collections.abc import Callable
from typing import Any

from radii.architectures import Architecture, Convnext, Mlp, Resnet, Vgg, WideResnet
from radii.graph.admission import admitted
from radii.graph.architectures.builder import Builder
from radii.graph.architectures.convnext import convnext
from radii.graph.architectures.mlp import mlp
from radii.graph.architectures.resnet import resnet
from radii.graph.architectures.vgg import vgg
from radii.graph.architectures.wide_resnet import wide_resnet
from radii.graph.errors import Obstacle, Refusal, UnsupportedModel
from radii.graph.ir import Graph
from radii.graph.limits import DEFAULTS, Limits
from radii.graph.operator import Shape
from radii.graph.simplify import simplify
from radii.graph.weights import read_safetensors

BUILD: dict[type[Architecture], Callable[[Builder, Any], None]] = {
    Mlp: mlp,
    Resnet: resnet,
    WideResnet: wide_resnet,
    Vgg: vgg,
    Convnext: convnext,
}


def from_weights(architecture: Architecture, weights: bytes, input_shape: Shape, *, limits: Limits = DEFAULTS) -> Graph:
    """The graph of an architecture with the tensors of a safetensors file, in eval mode.

    Raises `UnsupportedModel` with every tensor that is missing, of another shape, or not expected.
    """
    try:
        builder = Builder(read_safetensors(weights, limits), tuple(input_shape), limits)
        BUILD[type(architecture)](builder, architecture)
        return admitted(simplify(builder.graph()), limits)
    except Refusal as refusal:
        raise UnsupportedModel([Obstacle(None, "", refusal.reason, refusal.remedy)]) from None
