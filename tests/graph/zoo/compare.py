"""A network's files through radii and through onnxruntime."""

import numpy as np
import torch

from radii.graph import Graph, read_onnx, to_module
from tests.graph.build import reference, relative_gap
from tests.graph.canonical import check_form, check_names
from tests.graph.zoo.entry import Handmade, Network


def compared(network: Network | Handmade) -> list[tuple[Graph, float]]:
    """Each file's graph, and its largest difference from onnxruntime on three samples, relative to the largest logit.

    A file whose batch is fixed to one answers row by row there; radii answers all at once.
    """
    x = torch.randn(3, *network.shape, generator=torch.Generator().manual_seed(6))
    rows = [x] if network.dynamic else x.chunk(3)
    pairs = []
    for data in network.files():
        graph = read_onnx(data)
        assert graph.input_shape == network.shape
        expected = np.concatenate([reference(data, batch.numpy()) for batch in rows])
        assert np.ptp(expected, axis=0).max() > 1e-3 * np.abs(expected).max()  # the input matters to this network
        pairs.append((graph, relative_gap(to_module(graph)(x).numpy(), expected)))
        check_form(graph, x)
        check_names(data, graph)
    return pairs
