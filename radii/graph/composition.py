"""A denoiser in front of a classifier, as one graph: denoised smoothing (Salman et al., NeurIPS 2020)."""

from dataclasses import replace
from typing import Literal

from radii.graph.ir import Graph

Task = Literal["classifier", "denoiser"]
"""What a network makes of an input: logits, or another input of the same shape."""


def composed(denoiser: Graph, classifier: Graph) -> Graph:
    """``classifier(denoiser(x))``: another function than the classifier's, with a digest of its own.

    Both in one space of inputs: that of the data, before either's normalisation. Raises `ValueError` where the shapes
    differ.
    """
    made = denoiser.shapes[denoiser.output]
    if made != denoiser.input_shape or made != classifier.input_shape:
        raise ValueError(
            f"the denoiser makes {made} of {denoiser.input_shape}, the classifier takes {classifier.input_shape}"
        )

    def behind(name: str) -> str:
        return denoiser.output if name == classifier.input else f"classifier {name}"

    nodes = [
        replace(node, inputs=tuple(map(behind, node.inputs)), output=behind(node.output)) for node in classifier.nodes
    ]
    return Graph.build(denoiser.input, denoiser.input_shape, behind(classifier.output), [*denoiser.nodes, *nodes])
