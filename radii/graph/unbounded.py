"""What stands against a Lipschitz bound, a line a node, or one for all where the network as a whole is of a kind."""

from collections.abc import Iterable

from radii.graph.errors import Obstacle
from radii.graph.ir import Node
from radii.graph.rules import Unbounded


def obstacles_of(found: Iterable[tuple[Node, Unbounded]]) -> list[Obstacle]:
    """In the order of the nodes."""
    alike: dict[object, list[tuple[Node, Unbounded]]] = {}
    for i, (node, rule) in enumerate(found):
        alike.setdefault(rule if rule.speaks_for_all else i, []).append((node, rule))
    return [_obstacle(*nodes[0], len(nodes) - 1) for nodes in alike.values()]


def _obstacle(node: Node, rule: Unbounded, more: int) -> Obstacle:
    like_it = f"; {more} more node{'s are' if more > 1 else ' is'} like it" if more else ""
    return Obstacle(node.index, node.operator.name, rule.reason + like_it, rule.remedy)
