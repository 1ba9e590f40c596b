"""Inputs of dense layers that nothing reads, left out by a `pick` before the layer."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from .ir import PARAMETER, Node, Ref
from .network import GraphNetwork, parameters_of
from .removal import Reduction


def pick_inputs(network: GraphNetwork, pays: Callable[[Tensor, Tensor], bool]) -> Reduction:
    """The same function with dense layers that take only those inputs that they read.

    A layer that has a `pick` before it already gets a narrower one, whether that pays or not.

    :param network: not changed.
    :param pays: of a weight, shape (outputs, inputs), and of which inputs are read, bool (inputs,):
        whether a pick is worth it.
    """
    graph = network.graph.copy()
    tensors = dict(parameters_of(network))
    users = graph.users()
    kept = {}
    for node in graph.operators:
        weight = node.arguments.get("weight")
        if node.operator != "linear" or weight.node.operator != PARAMETER:
            continue
        matrix = tensors[weight.node.name]
        read = matrix.ne(0).any(0)
        if bool(read.all()) or len(users[weight.node]) > 1:
            continue
        read[0] |= not bool(read.any())
        before = node.arguments["input"].node
        picked = before.operator == "pick" and users[before] == [node]
        if not picked and not pays(matrix, read):
            continue
        _pick(graph.nodes, node, before if picked else None, read, tensors)
        part = matrix.detach()[:, read].clone()
        tensors[weight.node.name] = nn.Parameter(part, matrix.requires_grad)
        kept[weight.node.name] = (None, read.nonzero()[:, 0].cpu().numpy())
    if not kept:
        return Reduction(network, {}, 0)
    return Reduction(network.edited(graph, tensors), kept, 0)


def _pick(
    nodes: list[Node], node: Node, before: Node | None, read: Tensor, tensors: dict[str, Tensor]
) -> None:
    """Put a pick before a node, or narrow the one that is there; in place."""
    if before is not None:
        name = before.arguments["kept"].node.name
        kept = tensors[name].clone()
        kept[kept.clone()] = read
        tensors[name] = kept
        return
    name = _name(node.arguments["weight"].node.name, tensors)
    mask = Node(PARAMETER, name=name)
    pick = Node("pick", {"input": node.arguments["input"], "kept": Ref(mask)}, scope=node.scope)
    at = nodes.index(node)
    nodes[at:at] = [mask, pick]
    node.arguments["input"] = Ref(pick)
    tensors[name] = read.clone()


def _name(weight: str, taken: dict[str, Tensor]) -> str:
    """A free name for a choice: "select.kept", "select2.kept", ... beside the layer."""
    path = weight.rpartition(".")[0].rpartition(".")[0]
    stem, number = f"{path}." if path else "", 1
    while True:
        name = f"{stem}select{number if number > 1 else ''}.kept"
        if name not in taken:
            return name
        number += 1
