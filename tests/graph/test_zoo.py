"""Every network of the zoo: radii's logits equal onnxruntime's, and the docs say what applies to it."""

import numpy as np
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from radii.graph import methods
from radii.graph.reader import NEWEST
from tests.graph.build import reference
from tests.graph.placement import check_placement
from tests.graph.zoo import ZOO
from tests.graph.zoo.compare import compared
from tests.graph.zoo.entry import Handmade, Network
from tests.graph.zoo.modules import check_bfloat16, check_gradients, check_traced
from tests.graph.zoo.table import MARK, PAGE, row

FIRST = {network.family: network for network in reversed(ZOO)}


@pytest.mark.parametrize("network", ZOO, ids=lambda network: network.name)
def test_network(network: Network | Handmade) -> None:
    pairs = compared(network)
    assert [gap for _, gap in pairs if not gap < 1e-5] == []
    graph = pairs[0][0]
    check_gradients(graph)
    check_bfloat16(graph)
    check_placement(graph)
    if FIRST[network.family] is network and len(graph.nodes) <= 30:  # tracing takes a second for 60 nodes
        check_traced(graph)
    for graph, _ in pairs:
        applies = {method["kind"]: method["applies"] for method in methods(graph)}
        assert applies["smoothing"]
    made = row(network, [graph for graph, _ in pairs])
    assert made in PAGE.read_text().splitlines(), "write the table anew: python -m tests.graph.zoo"


@pytest.mark.parametrize("network", [n for n in ZOO if isinstance(n, Network) and n.failing], ids=lambda n: n.name)
def test_where_an_exporter_fails_itself(network: Network) -> None:
    """No file, or none that anybody can run: when torch mends it, the network belongs into the zoo that way too."""
    for opset in network.failing:
        with pytest.raises((RuntimeError, TypeError, runtime.Fail)):
            data = network.exported(opset, dynamo=not network.dynamo)
            reference(data, np.zeros((1, *network.shape), np.float32))


def test_zoo_is_whole() -> None:
    names = [network.name for network in ZOO]
    assert len(set(names)) == len(names) >= 100
    assert len({network.family for network in ZOO}) >= 40
    opsets = {opset for network in ZOO if isinstance(network, Network) for opset in network.dynamo + network.legacy}
    assert opsets >= set(range(13, 24))
    by_hand = {opset for network in ZOO if isinstance(network, Handmade) for opset in network.opsets}
    assert by_hand >= {*range(8, 13), NEWEST}  # which no exporter of torch writes yet
    generated = PAGE.read_text().partition(MARK)[2]
    rows = [line for line in generated.splitlines() if line.startswith("| ")]
    assert len(rows) == len(names) + 1  # and the head
