"""Biases that the next layer can say: those that reach its sums as they are.

Between a contraction and the next there may be nothing but operators that commute with adding a
constant to a channel (pooling, flattening and other movements). Then the bias of the first adds a
constant to each sum of the second, whose own bias takes it in. That is done where the second has a
bias, pads nothing, and has no more units than the first: what each of many units would have to be
told is cheaper to tell once.
"""

from __future__ import annotations

from torch import Tensor, nn

from .evaluate import Evaluation
from .ir import PARAMETER, Node, Ref
from .network import GraphNetwork, parameters_of
from .operators import Family, window_axes
from .table import OPERATORS

_FROM = ("linear", "conv1d", "conv2d", "conv3d")


def fold_shifts(network: GraphNetwork) -> GraphNetwork:
    """The same function in eval mode with the biases left out that the next layers can say.

    :param network: not changed; returned as it is where there is nothing to fold.
    """
    evaluation = Evaluation(network)
    users = network.graph.users()
    outputs = {ref.node for ref in network.graph.output_refs()}
    tensors = dict(parameters_of(network))
    gone: list[Node] = []
    for node in network.graph.operators:
        if node.operator not in _FROM or not _has_own_bias(node, users):
            continue
        path = _path(node, users, outputs)
        after = path.pop() if path else None
        if after is None or not _takes(after, node, path, users, evaluation):
            continue
        added = _sums(node, path, after, tensors, evaluation)
        if added is not None:
            bias = tensors[after.arguments["bias"].node.name]
            value = (bias.detach().double() + added).to(bias.dtype)
            tensors[after.arguments["bias"].node.name] = nn.Parameter(value, bias.requires_grad)
            gone.append(node)
    if not gone:
        return network
    graph = network.graph.copy()
    new = dict(zip(network.graph.nodes, graph.nodes, strict=True))
    for node in gone:
        new[node].arguments["bias"] = None
    graph.prune()
    return network.edited(graph, tensors)


def _has_own_bias(node: Node, users: dict[Node, list[Node]]) -> bool:
    bias = node.arguments["bias"]
    return bias is not None and bias.node.operator == PARAMETER and users[bias.node] == [node]


def _path(node: Node, users: dict[Node, list[Node]], outputs: set[Node]) -> list[Node]:
    """The operators behind a node up to the next contraction; empty if the way forks."""
    path: list[Node] = []
    while node not in outputs and len(users[node]) == 1:
        node = users[node][0]
        path.append(node)
        row = OPERATORS[node.operator]
        if row.family is Family.CONTRACT:
            return path
        moves = row.shifts or row.name in ("dropout", "feature_dropout")
        if not moves or row.results != 1 or len(node.refs()) != 1:
            return []
    return []


def _takes(
    after: Node, node: Node, path: list[Node], users: dict[Node, list[Node]], evaluation: Evaluation
) -> bool:
    """Whether a contraction can say the bias of the one before it."""
    if after.operator not in _FROM or not _has_own_bias(after, users):
        return False
    source = path[-1] if path else node
    pads = after.arguments.get("padding", ())
    fewer = _units(after, evaluation) <= _units(node, evaluation)
    return (
        after.arguments["input"] == Ref(source)
        and fewer
        and after.arguments.get("groups", 1) == 1
        and pads != "same"
        and not any(pads)
    )


def _units(node: Node, evaluation: Evaluation) -> int:
    return evaluation.shape(node.arguments["weight"])[0]


def _sums(
    node: Node, path: list[Node], after: Node, tensors: dict[str, Tensor], evaluation: Evaluation
) -> Tensor | None:
    """What a node's bias adds to the sums of the next, float64; None if that differs by place."""
    bias = tensors[node.arguments["bias"].node.name].detach().double()
    shape = evaluation.shape(Ref(node))
    axis = len(shape) - 1 if node.operator == "linear" else 1
    value = bias.reshape([-1 if d == axis else 1 for d in range(len(shape))]).expand(shape)
    for step in path:
        rest = [v for name, v in step.arguments.items() if not isinstance(v, Ref)]
        if not _is_one_along(step, value):
            return None
        value = OPERATORS[step.operator].call(value, *rest)
    axis = value.dim() - 1 if after.operator == "linear" else 1
    rows = value.movedim(axis, 0).flatten(1)
    if not bool((rows == rows[:, :1]).all()):
        return None
    weight = tensors[after.arguments["weight"].node.name].detach().double()
    matrix = weight.flatten(2).sum(2) if weight.dim() > 2 else weight
    return matrix @ rows[:, 0]


def _is_one_along(step: Node, value: Tensor) -> bool:
    """Whether an operator takes its windows, or reduces, where one constant is added to all."""
    rank, family = value.dim(), OPERATORS[step.operator].family
    if family is Family.WINDOW:
        axes = range(rank - window_axes(step.operator, rank), rank)
    elif family is Family.REDUCE:
        dims = step.arguments["dim"]
        axes = range(rank) if dims is None else dims
    else:
        return True
    return all(bool((value == value.narrow(axis, 0, 1)).all()) for axis in axes)
