"""What the graph section says of a network: the graph, and what is known of each parameter."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..graph.ir import Graph, Node, refs_in
from ..graph.operators import Argument, Family, Operator
from ..graph.table import OPERATORS


@dataclass
class Entry:
    """One parameter or buffer.

    :param role: "weight", "bias" (any vector), "mask" or "raw", as in `nodes.ROLES`.
    :param trains: whether it is an `nn.Parameter`; else a buffer.
    :param node: the parameter's node in the graph.
    :param reader: the operator that takes it first; None if the network just returns it.
    :param argument: the name of the reader's argument, and its place in a tuple.
    """

    shape: tuple[int, ...]
    dtype: str
    role: str
    trains: bool
    node: Node
    reader: Node | None = None
    argument: tuple[str, int] = ("", 0)

    @property
    def is_swapped(self) -> bool:
        """Whether the coder takes axis 1 for the output units: they are that of the network."""
        if self.reader is None or self.role != "weight" or len(self.shape) < 2:
            return False
        name = self.reader.operator
        up = name.startswith("conv_transpose") and self.reader.arguments["groups"] == 1
        return (up or name == "embedding") and self.argument[0] == "weight"


@dataclass
class Described:
    """All that a file's graph section says.

    :param entries: in the order of the parameter nodes, each of which stands before its reader.
    :param picked: how many entries each `pick` keeps, by its node.
    :param lenders: for each entry of role weight or mask the places, among all weights, of those
        whose output units are its columns; None is the weight before.
    """

    graph: Graph
    entries: list[Entry]
    picked: dict[Node, int] = field(default_factory=dict)
    lenders: list[tuple[int, ...] | None] = field(default_factory=list)
    label: str | None = None


def coding_order(row: Operator) -> list[Argument]:
    """The arguments of an operator as a file has them: what it takes, its attributes, the rest.

    The attributes may depend on the input's shape, and parameters' shapes on the attributes.
    """
    first = [a for a in row.arguments if a.is_tensor][:1]
    rest = [a for a in row.arguments if a.is_tensor][1:]
    return first + [a for a in row.arguments if not a.is_tensor] + rest


def ordered(graph: Graph) -> Graph:
    """The same graph, each parameter right before the operator that takes it first."""
    nodes: dict[Node, None] = {}

    def add_parameters(value: object) -> None:
        for ref in refs_in(value):
            if ref.node.operator == "parameter":
                nodes.setdefault(ref.node)

    for node in graph.nodes:
        if node.operator == "input":
            nodes.setdefault(node)
    for node in graph.operators:
        for argument in coding_order(OPERATORS[node.operator]):
            add_parameters(node.arguments[argument.name])
        nodes.setdefault(node)
    add_parameters(graph.outputs)
    return Graph(list(nodes), graph.inputs, graph.signature, graph.outputs, graph.aliases)


Layer = tuple[int, bool]  # of a recurrent network: its number, and whether it goes backwards
Known = dict[str, object]  # what is known of an operator's arguments: shapes, numbers, attributes
Expected = tuple[int | None, ...] | None  # a shape as far as it follows; None: nothing follows


def expected_shape(row: Operator, name: str, place: int, known: Known) -> Expected:
    """The shape that a new parameter has by the operator and its other arguments."""
    source = known.get("input")
    weight = known.get("weight")
    if row.family is Family.RECURRENT and name == "params":
        return _recurrent_shape(row, place, known)
    if name == "bias" and weight is not None and row.weights:
        up = row.name.startswith("conv_transpose")
        return (weight[1] * known["groups"],) if up else weight[:1]
    if row.name == "embedding" and name == "weight":
        return (None, None)
    if not isinstance(source, tuple) or not source:
        return None
    if name == "weight" and row.name == "linear":
        return (None, source[-1])
    if name == "weight" and row.name.startswith("conv") and len(source) > 1:
        kernel = (None,) * (len(source) - 2)
        if row.name.startswith("conv_transpose"):
            return (source[1], None, *kernel)
        return (None, source[1] // known["groups"], *kernel)
    if "normalized_shape" in known:
        return known["normalized_shape"]
    if name in row.vectors and len(source) > 1:
        return (source[1],)
    if name == "kept":
        return source[-1:]
    return (source[-1], None) if row.name == "matmul" and name == "other" else None


def _recurrent_shape(row: Operator, place: int, known: Known) -> Expected:
    states = known["hx"] if row.name == "lstm" else (known["hx"],)
    if not states or not states[0]:
        return None
    hidden, directions = states[0][-1], 1 + known["bidirectional"]
    rows = {"lstm": 4, "gru": 3}.get(row.name, 1) * hidden
    each = 4 if known["has_biases"] else 2
    layer, which = place // each // directions, place % each
    inputs = directions * hidden if layer else known["input"][-1]
    return ((rows, inputs), (rows, hidden), (rows,), (rows,))[which]


def usual_leaf(reader: Node | None, argument: tuple[str, int], layer: Layer | None) -> str:
    """The last part of a parameter's name as torch's own layers have it; "" if there is none.

    :param layer: of a recurrent operator, which layer its first parameter is in.
    """
    name, place = argument
    if reader is None:
        return ""
    row = OPERATORS[reader.operator]
    if row.family is not Family.RECURRENT:
        return name if name in (*row.weights, *row.vectors, "kept") and not place else ""
    if name != "params" or layer is None:
        return ""
    number, backwards = layer
    each = 4 if reader.arguments["has_biases"] else 2
    directions = 1 + reader.arguments["bidirectional"]
    stem = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[place % each]
    backwards |= bool(place // each % directions)
    return f"{stem}_l{number + place // each // directions}{'_reverse' * backwards}"
