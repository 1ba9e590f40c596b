"""ReLUs of a graph that are quantised while it trains, and where its weights' inputs come from."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping

from torch import Tensor, nn

from ..graph import Graph, GraphNetwork, Node, Ref, parameters_of, relu_names
from ..graph.ir import PARAMETER
from ..graph.operators import Family
from ..graph.table import OPERATORS

_WEIGHTED = ("linear", "conv1d", "conv2d", "conv3d")
_MAX_POOLS = [f"{kind}max_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3)]
_MEANS = [f"{kind}avg_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3)]
_MOVES = (
    "flatten", "reshape", "transpose", "permute", "unsqueeze", "squeeze", "select", "slice", "pick",
)  # fmt: skip
# What a quantised value goes through and stays on its grid, or on one that is finer by the number
# of values that a mean is over.
_PASSING = {*_MAX_POOLS, *_MEANS, *_MOVES, "mean"}
_KEEPS_UNITS = {*_MAX_POOLS, *_MEANS, "flatten", "mean", "batch_norm", "affine"}


class GatedGraph(GraphNetwork):
    """A network whose ReLUs of these names are computed by modules.

    :param gates: by the names of `graph.relu_names`.
    """

    def __init__(
        self, graph: Graph, tensors: Mapping[str, Tensor], gates: dict[str, nn.Module]
    ) -> None:
        super().__init__(graph, tensors)
        self._gates = [gates]  # in a list, out of sight of nn.Module
        nodes = relu_names(graph)
        calls = {graph.nodes.index(nodes[name]): gate for name, gate in gates.items()}
        self._plan._steps = [
            (place, (calls.get(place, step[0]), *step[1:])) for place, step in self._plan._steps
        ]

    @staticmethod
    def of(network: GraphNetwork, gates: dict[str, nn.Module]) -> GatedGraph:
        """A network with the tensors of another one, pooling by maxima in front of the gates.

        Neither a ReLU nor its grid changes which value is largest, and there are fewer left to
        round behind the pooling.
        """
        graph = network.graph.copy()
        nodes = relu_names(graph)
        for name in gates:
            _pool_first(graph, nodes[name])
        made = GatedGraph(graph, dict(parameters_of(network)), gates)
        return made.train(network.training)

    @property
    def gates(self) -> dict[str, nn.Module]:
        """The modules by name."""
        return self._gates[0]

    def __deepcopy__(self, memo: dict) -> GatedGraph:
        tensors = {name: copy.deepcopy(value, memo) for name, value in parameters_of(self)}
        gates = copy.deepcopy(self.gates, memo)
        return GatedGraph(self.graph, tensors, gates).train(self.training)


def _pool_first(graph: Graph, relu: Node) -> None:
    """Let the only reader of a ReLU, if it pools by maxima, come in front of it; in place."""
    readers = graph.users()[relu]
    if len(readers) != 1 or readers[0].operator not in _MAX_POOLS:
        return
    if Ref(relu) in graph.output_refs():
        return
    pool, source = readers[0], relu.arguments["input"]
    graph.replace(Ref(pool), Ref(relu))
    pool.arguments["input"], relu.arguments["input"] = source, Ref(pool)
    graph.nodes.remove(relu)
    graph.nodes.insert(graph.nodes.index(pool) + 1, relu)


def graph_inputs(graph: Graph, names: Collection[str]) -> dict[str, tuple[str | None, str | None]]:
    """Where each weight's inputs come from; see `gated_relu.inputs_of`."""
    relus = {node: name for name, node in relu_names(graph).items()}
    users, found = graph.users(), {}
    parameters = {node.name: node for node in graph.parameters}
    for name in names:
        parameter = parameters.get(name)
        readers = [] if parameter is None else users[parameter]
        found[name] = None, None
        if len(readers) == 1 and _weight_of(readers[0]) == name:
            ref = readers[0].arguments["input"]
            found[name] = _relu_before(ref, relus), _weight_before(ref, names)
    return found


def _weight_of(node: Node) -> str | None:
    """The name of the weight of a dense layer or convolution."""
    weight = node.arguments.get("weight") if node.operator in _WEIGHTED else None
    return weight.node.name if weight is not None and weight.node.operator == PARAMETER else None


def _relu_before(ref: Ref, relus: Mapping[Node, str]) -> str | None:
    while ref.node.operator in _PASSING:
        ref = ref.node.arguments["input"]
    return relus.get(ref.node)


def _weight_before(ref: Ref, names: Collection[str]) -> str | None:
    while True:
        node = ref.node
        if _weight_of(node) in names:
            return _weight_of(node)
        if not (node.operator in _KEEPS_UNITS or _is_function_of_one(node)):
            return None
        ref = node.arguments["input"]


def _is_function_of_one(node: Node) -> bool:
    """Whether an elementwise operator takes one value beside numbers and parameters."""
    row = OPERATORS.get(node.operator)
    if row is None or row.family is not Family.ELEMENTWISE or "input" not in node.arguments:
        return False
    others = [r for k, v in node.arguments.items() if k != "input" for r in _refs(v)]
    first = node.arguments["input"]
    return isinstance(first, Ref) and all(r.node.operator == PARAMETER for r in others)


def _refs(value: object) -> list[Ref]:
    return [value] if isinstance(value, Ref) else []
