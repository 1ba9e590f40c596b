"""The operators of a graph whose weights can be quantized when a run comes to them."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph import GraphNetwork, Node, Ref
from ..graph.evaluate import static_nodes
from ..graph.ir import PARAMETER
from ..graph.products import embedding
from ..graph.table import OPERATORS
from ..graph.uses import Uses


@dataclass(frozen=True)
class Layer:
    """An operator that multiplies a weight which nothing else uses.

    :param weight: the name of the weight.
    :param bias: the parameter node that is added to the outputs, if nothing else uses it.
    :param shortcut: what the outputs are added to, if nothing else reads them.
    """

    weight: str
    bias: Node | None
    shortcut: Ref | None


def layers_of(network: GraphNetwork, uses: Uses, vectors: set[str]) -> dict[Node, Layer]:
    """The operators whose weight can be fitted when the run comes to them."""
    users, found = network.graph.users(), {}
    static = static_nodes(network.graph)
    for name, readers in uses.readers.items():
        node = readers[0] if len(readers) == 1 else None
        if node is None or node not in uses.nodes or node in static:
            continue
        refs = [ref for ref in node.refs() if ref.node.operator == PARAMETER]
        if name not in {ref.node.name for ref in refs}:
            continue  # it comes by way of another operator
        row = OPERATORS[node.operator]
        if row.results != 1 or row.products is embedding:
            continue
        added = node.arguments.get("bias")
        own = isinstance(added, Ref) and added.node.name in vectors and len(users[added.node]) == 1
        found[node] = Layer(name, added.node if own else None, _shortcut(node, users))
    return found


def _shortcut(node: Node, users: dict[Node, list[Node]]) -> Ref | None:
    readers = users[node]
    if len(readers) != 1 or readers[0].operator != "add":
        return None
    others = [ref for ref in readers[0].refs() if ref.node is not node]
    return others[0] if len(others) == 1 else None
