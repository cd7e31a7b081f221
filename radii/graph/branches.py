"""The graphs inside of an If, and which nodes of a graph its outputs need."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from radii.graph.errors import Refusal

DATA_DEPENDENT = (
    "it is control flow that depends on the input's values, so the model is not one fixed function",
    "Export with control flow traced away",
)


def subgraphs(node: Any) -> Iterator[Any]:
    """The graphs that a node holds."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def branches(node: Any) -> tuple[Any, Any]:
    """The two graphs of an If."""
    given = {attribute.name: attribute.g for attribute in node.attribute if attribute.HasField("g")}
    if set(given) != {"then_branch", "else_branch"} or len(node.attribute) != 2:
        raise Refusal("it is control flow without its two branches", "Export the model again")
    return given["then_branch"], given["else_branch"]


def count_nodes(graph: Any) -> int:
    """Its nodes, those of inner graphs included."""
    return sum(1 + sum(count_nodes(inner) for inner in subgraphs(node)) for node in graph.node)


def read_names(node: Any) -> set[str]:
    """The names that a node reads, or that graphs inside of it might."""
    names = {name for name in node.input if name}
    for graph in subgraphs(node):
        names.update(value.name for value in graph.output)
        for inner in graph.node:
            names |= read_names(inner)
    return names


def live_nodes(nodes: Sequence[Any], outputs: Iterable[str]) -> dict[int, set[str]]:
    """The nodes that ``outputs`` need, by position, each with those of its outputs that are needed."""
    maker = {name: index for index, node in enumerate(nodes) for name in node.output}
    live: dict[int, set[str]] = {}
    todo = list(outputs)
    seen = set(todo)
    while todo:
        name = todo.pop()
        if name not in maker:
            continue
        if maker[name] not in live:
            live[maker[name]] = set()
            fresh = read_names(nodes[maker[name]]) - seen
            todo.extend(fresh)
            seen |= fresh
        live[maker[name]].add(name)
    return live
