"""Whether local bounds apply is said without weights, and is what bounding says with them."""

from radii.graph import Graph, read_onnx
from radii.graph.applicability import plainly_local
from radii.local import Network, NotRelaxable, verdict
from tests.graph.build import model, node
from tests.graph.space import corpus


def said_of(graph: Graph) -> list[tuple[int | None, str]]:
    try:
        Network.of(graph)
    except NotRelaxable as error:
        return [(obstacle.node, obstacle.reason) for obstacle in error.obstacles]
    return []


def test_of_every_operator() -> None:
    refused = plain = 0
    for case in corpus(2):
        graph = read_onnx(case.data())
        found = verdict(graph)
        assert [(reason["node"], reason["reason"]) for reason in found["reasons"]] == said_of(graph), case.operator
        assert found["kind"] == "local" and found["applies"] is not bool(found["reasons"])
        refused += not found["applies"]
        assert plainly_local(graph, "classifier") in (None, found)
        plain += plainly_local(graph, "classifier") is not None
    assert refused > 10 and plain > 10


def test_of_another_task_it_does_not_apply() -> None:
    graph = read_onnx(model([node("Neg", ["x"])], (6,)))
    for task, words in (("denoiser", "nothing by itself"), ("regressor", "no classes")):
        [reason] = verdict(graph, task)["reasons"]  # type: ignore[arg-type]
        assert reason["node"] is None and words in reason["reason"]
