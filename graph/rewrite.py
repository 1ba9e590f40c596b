"""Edits of a network's graph that a method asks for: quantised ReLUs, and a weight as a product.

relu             ->  quantised_relu, on a grid of its own
linear           ->  linear to `rank` features without bias, then linear with the bias
convN of any size->  convN of that size to `rank` channels without bias, then convN of size 1
                     with the bias
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from .ir import PARAMETER, Graph, Node, Ref
from .network import GraphNetwork, parameters_of
from .table import OPERATORS

_CONVS = ("conv1d", "conv2d", "conv3d")


def relu_names(graph: Graph) -> dict[str, Node]:
    """The relu nodes by name, in order.

    The name is the path of the module that the ReLU was called in: of the ReLU itself if it is a
    module, else of the one whose forward calls it. All but the first of a path have their number
    behind it: "layers.0", "layers.0~2". In the network's own forward the path is "relu".
    """
    found: dict[str, Node] = {}
    for node in graph.operators:
        if node.operator not in ("relu", "quantised_relu"):
            continue
        stem = name = node.scope or "relu"
        number = 1
        while name in found:
            number += 1
            name = f"{stem}~{number}"
        found[name] = node
    return {name: node for name, node in found.items() if node.operator == "relu"}


def quantise_relus(network: GraphNetwork, grids: Mapping[str, tuple[float, int]]) -> GraphNetwork:
    """The network with ReLUs whose outputs are multiples of a step.

    :param network: not changed; the result shares its tensors.
    :param grids: step and bits by the names of `relu_names`.
    :raises ValueError: there is no ReLU of that name.
    """
    graph = network.graph.copy()
    found = relu_names(graph)
    for name, (step, bits) in grids.items():
        if name not in found:
            raise ValueError(f"{name!r} is no ReLU of the network")
        node = found[name]
        node.operator = "quantised_relu"
        node.arguments = OPERATORS["quantised_relu"].bind(
            {"input": node.arguments["input"], "step": step, "bits": bits}
        )
    return network.edited(graph, dict(parameters_of(network))).train(network.training)


def factorise(
    network: GraphNetwork, factors: Mapping[str, tuple[Tensor, Tensor]]
) -> tuple[GraphNetwork, dict[str, tuple[str, str, str | None]]]:
    """The network with weights as products of two.

    :param network: not changed; the result shares the tensors that stay.
    :param factors: left, shape (outputs, rank), and right, (rank, inputs and kernel positions), by
        the weight's name.
    :returns: also the names of right, left and bias (None if there is none) for each weight:
        "fc.0.weight", "fc.1.weight" and "fc.1.bias" for "fc.weight".
    :raises ValueError: a weight of another kind of node, a grouped convolution, a weight that
        several nodes read, or factors of the wrong shape.
    """
    graph, tensors = network.graph.copy(), dict(parameters_of(network))
    names = {}
    for name, (left, right) in factors.items():
        node = _reader(graph, name)
        _check(name, tensors[name], left, right)
        names[name] = _split(graph, tensors, node, name, left, right)
    graph.prune()
    return network.edited(graph, tensors).train(network.training), names


def _reader(graph: Graph, name: str) -> Node:
    """The node that a weight belongs to."""
    parameter = next((node for node in graph.parameters if node.name == name), None)
    readers = [] if parameter is None else graph.users()[parameter]
    if parameter is None or readers[0].operator not in ("linear", *_CONVS):
        raise ValueError(f"{name!r} is not the weight of a dense layer or convolution")
    if len(readers) > 1 or name in graph.aliases.values():
        raise ValueError(f"{name!r} is shared by several layers: leave it unfactorised")
    if readers[0].arguments["weight"] != Ref(parameter):
        raise ValueError(f"{name!r} is not the weight of a dense layer or convolution")
    groups = readers[0].arguments.get("groups", 1)
    if groups != 1:
        raise ValueError(
            f"{name!r} belongs to a convolution of {groups} groups, which is not one matrix: "
            "leave it unfactorised"
        )
    return readers[0]


def _check(name: str, weight: Tensor, left: Tensor, right: Tensor) -> None:
    outputs, inputs = weight.flatten(1).shape
    shapes = tuple(left.shape), tuple(right.shape)
    if len(shapes[0]) != 2 or shapes[1] != (shapes[0][1], inputs) or shapes[0][0] != outputs:
        raise ValueError(
            f"the factors of {name!r} have shapes {shapes[0]} and {shapes[1]}; "
            f"they must be ({outputs}, rank) and (rank, {inputs})"
        )
    if not (left.isfinite().all() and right.isfinite().all()):
        raise ValueError(f"the factors of {name!r} hold NaN or infinity")


def _split(
    graph: Graph, tensors: dict[str, Tensor], node: Node, name: str, left: Tensor, right: Tensor
) -> tuple[str, str, str | None]:
    """Two nodes in the place of one; in place."""
    weight, rank = tensors[name], left.shape[1]
    path = name.rpartition(".")[0] if name.endswith(".weight") or name == "weight" else name
    names = [f"{path}.{i}.weight".lstrip(".") for i in (0, 1)]
    ones = (1,) * (weight.dim() - 2)
    for new, value, shape in (
        (names[0], right, (rank, *weight.shape[1:])),
        (names[1], left, (len(left), rank, *ones)),
    ):
        value = value.detach().to(weight).reshape(shape).clone()
        tensors[new] = nn.Parameter(value, weight.requires_grad)
    first, last = (Node(PARAMETER, name=new) for new in names)
    bias_name = _moved_bias(graph, tensors, node, path)
    row = OPERATORS[node.operator]
    inner = Node(
        node.operator, {**node.arguments, "weight": Ref(first), "bias": None}, scope=node.scope
    )
    place = graph.nodes.index(node)
    graph.nodes[place:place] = [first, inner, last]
    given = {"input": Ref(inner), "weight": Ref(last), "bias": node.arguments["bias"]}
    node.arguments = row.bind(given)
    return names[0], names[1], bias_name


def _moved_bias(graph: Graph, tensors: dict[str, Tensor], node: Node, path: str) -> str | None:
    """The name of a bias after its layer has become two; its own if others read it, too."""
    ref = node.arguments["bias"]
    if ref is None:
        return None
    name = ref.node.name
    alone = graph.users()[ref.node] == [node] and name not in graph.aliases.values()
    if ref.node.operator != PARAMETER or not alone:
        return name
    ref.node.name = f"{path}.1.bias".lstrip(".")
    tensors[ref.node.name] = tensors[name]
    return ref.node.name


def join_quantised_relus(network: GraphNetwork) -> GraphNetwork:
    """The network with a `quantised_relu` wherever single operators compute one.

    That is `clamp(round(x / step), 0, 2^bits - 1) * step`, as traced from a module that does so.

    :param network: the same is returned if there is none; not changed.
    """
    graph = network.graph.copy()
    users = graph.users()
    found = False
    for node in graph.operators:
        grid = _grid(graph, users, node)
        if grid is not None:
            source, step, bits = grid
            node.operator = "quantised_relu"
            node.arguments = OPERATORS["quantised_relu"].bind(
                {"input": source, "step": step, "bits": bits}
            )
            found = True
    if not found:
        return network
    graph.prune()
    tensors = dict(parameters_of(network))
    kept = {node.name: tensors[node.name] for node in graph.parameters}
    return network.edited(graph, kept).train(network.training)


def _grid(graph: Graph, users: dict[Node, list[Node]], node: Node) -> tuple | None:
    """Input, step and bits of the quantised ReLU that ends at a node."""
    chain = [node]
    for operator in ("clamp", "round", "div"):
        ref = chain[-1].arguments.get("input")
        if not isinstance(ref, Ref) or ref.node.operator != operator:
            return None
        if users[ref.node] != [chain[-1]] or ref in graph.output_refs():
            return None
        chain.append(ref.node)
    multiply, clamp, _, divide = chain
    step, most = divide.arguments["other"], clamp.arguments["max"]
    if multiply.operator != "mul" or type(step) not in (int, float) or clamp.arguments["min"] != 0:
        return None
    if multiply.arguments["other"] != step or not isinstance(most, int | float) or most < 1:
        return None
    bits = int(most + 1).bit_length() - 1
    return (divide.arguments["input"], float(step), bits) if 2**bits - 1 == most else None
