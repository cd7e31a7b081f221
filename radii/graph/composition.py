"""A denoiser in front of another network, as one graph: denoised smoothing (Salman et al., NeurIPS 2020)."""

from dataclasses import replace
from typing import Literal

from radii.graph.ir import Graph

Task = Literal["classifier", "binary", "denoiser", "regressor"]
"""What a network makes of an input: logits, one logit of two classes or its sigmoid, another input of the same shape,
or real numbers."""


def composed(denoiser: Graph, network: Graph) -> Graph:
    """``network(denoiser(x))``: another function than the network's, with a digest of its own.

    Both in one space of inputs: that of the data, before either's normalisation. Raises `ValueError` where the shapes
    differ.
    """
    made = denoiser.shapes[denoiser.output]
    if made != denoiser.input_shape or made != network.input_shape:
        raise ValueError(
            f"the denoiser makes {made} of {denoiser.input_shape}, the network takes {network.input_shape}"
        )

    def behind(name: str) -> str:
        return denoiser.output if name == network.input else f"network {name}"

    nodes = [
        replace(node, inputs=tuple(map(behind, node.inputs)), output=behind(node.output)) for node in network.nodes
    ]
    return Graph.build(denoiser.input, denoiser.input_shape, behind(network.output), [*denoiser.nodes, *nodes])
