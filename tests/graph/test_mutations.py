"""Random mutations of real files: an answer or `UnsupportedModel`, in bounded time and memory, and nothing else."""

import random
import resource
import time
from pathlib import Path

import pytest
import torch

from radii.graph import Limits, UnsupportedModel, read_network, read_onnx, to_canonical, to_module
from radii.graph.canonical import WEIGHTS
from tests.graph.export import export
from tests.graph.mutations import contradicted, mutated, structural
from tests.graph.networks import NETWORKS, trained
from tests.graph.refused import conditional, small
from tests.graph.zoo.attention import SEQUENCE, attention
from tests.graph.zoo.entry import Network

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
MUTATIONS = 20_000
SECONDS, MEGABYTES = 2, 1000  # of one file


File = tuple[bytes, dict[str, bytes]]  # and what lies beside it


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[File]:
    """Files of both exporters, one with an If, one with its weights beside it, one in the canonical form."""
    made = [small(), conditional(), *(path.read_bytes() for path in sorted(DIGITS.glob("*.onnx")))]
    for i, (name, (_, shape)) in enumerate(NETWORKS.items()):
        made.append(export(trained(name), shape, dynamo=bool(i % 2), opset=18 if i % 2 else 13, dynamic=True))
    for dynamic in (False, True):  # the batch leaves the first axis
        network = attention(batch_first=False, weights=True)
        made += Network("", "", network, SEQUENCE, legacy=(14,), dynamic=dynamic).files()
    name, (_, shape) = next(iter(NETWORKS.items()))
    path = tmp_path_factory.mktemp("beside") / "f.onnx"
    export(trained(name), shape, dynamo=True, opset=18, dynamic=True, file=path)
    beside = {"f.onnx.data": path.with_name("f.onnx.data").read_bytes()}
    form, weights = to_canonical(read_onnx(small()))
    files = [*((data, {}) for data in made), (path.read_bytes(), beside), (form, {WEIGHTS: weights})]
    for data, external in files:
        read_network(data, external_data=external)
    return files


def test_an_answer_or_a_refusal(files: list[File]) -> None:
    rng = random.Random(20)
    read, slowest = 0, 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(MUTATIONS):
        data, external = files[number % len(files)]
        if external and rng.random() < 0.3:
            external = {name: structural(content, rng) for name, content in external.items()}
        else:
            data = structural(data, rng)
        started = time.process_time()
        try:
            read_network(data, external_data=external)
            read += 1
        except UnsupportedModel:
            pass
        slowest = max(slowest, time.process_time() - started)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert 0 < read < MUTATIONS
    assert slowest < SECONDS
    assert grown < MEGABYTES


@pytest.mark.parametrize("seed", range(4))
def test_mutated_files_are_answered_or_refused(seed: int) -> None:
    rng, data = random.Random(seed), small()
    read = 0
    for _ in range(1000):
        try:
            graph = read_onnx(mutated(data, rng), external_data={"": data})
        except UnsupportedModel as refused:
            assert refused.obstacles
            assert str(refused)
        else:
            read += 1
            assert graph.num_classes >= 2
            assert len(graph.digest) == 64
            for made in graph.nodes:
                made.operator.lipschitz(*graph.input_shapes(made))
    assert 20 < read < 980  # both happen: most edits fall into weights and names


@pytest.mark.parametrize("seed", range(2))
def test_contradictory_files_are_answered_or_refused(seed: int) -> None:
    rng, data = random.Random(seed), small()
    limits = Limits(tensor_elements=2**20, total_elements=2**22, activation_elements=2**18)
    read = 0
    for _ in range(1000):
        try:
            graph = read_onnx(contradicted(data, rng), limits=limits)
        except UnsupportedModel as refused:
            assert refused.obstacles
        else:
            read += 1
            logits = to_module(graph)(torch.ones(2, *graph.input_shape))
            assert logits.shape == (2, graph.num_classes)
            for made in graph.nodes:
                made.operator.lipschitz(*graph.input_shapes(made))
    assert read > 5
