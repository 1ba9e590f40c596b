"""The graph of a network: operators in the order of computation, and what they pass on.

A `Graph` holds no numbers. Its parameter nodes carry state_dict names, and whoever computes with
the graph brings the tensors (`network.GraphNetwork`, or a plain dictionary).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

INPUT, PARAMETER = "input", "parameter"


@dataclass(frozen=True)
class Ref:
    """One value: result number `index` of a node.

    :param node: where the value comes from.
    :param index: which of the node's results; 0 for nodes with a single one.
    """

    node: Node
    index: int = 0

    def __repr__(self) -> str:
        return self.node.label + (f"[{self.index}]" if self.index else "")


@dataclass(eq=False)
class Node:
    """One operator at its place, an input of the network, or a parameter or buffer.

    :param operator: name of a row of the operator table; `INPUT` or `PARAMETER`.
    :param arguments: by the names of the operator's arguments. A value is a `Ref`, a number, a
        flag, a string, None, or a tuple of such.
    :param name: the state_dict name of a parameter; the number of an input as text.
    :param scope: path of the module that the operator was called in, for messages.
    """

    operator: str
    arguments: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    scope: str = ""

    @property
    def label(self) -> str:
        """What messages call the node."""
        where = self.name or self.scope
        return f"{self.operator} {where}" if where else self.operator

    def refs(self) -> list[Ref]:
        """The values that the operator takes, in the order of its arguments."""
        return [ref for value in self.arguments.values() for ref in refs_in(value)]

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.label}({arguments})"


@dataclass(frozen=True)
class TensorType:
    """Shape and dtype of an input or a parameter.

    :param shape: sizes; None is the batch, of any size.
    :param dtype: torch's name, such as "float32".
    """

    shape: tuple[int | None, ...]
    dtype: str


@dataclass
class Graph:
    """A network without its numbers.

    :param nodes: all nodes; each stands behind those whose results it takes.
    :param inputs: the types of the network's inputs, in the order of the input nodes.
    :param signature: how the inputs are passed: a pair (positional, named) of nested tuples, lists
        and dictionaries whose leaves are numbers of inputs, or constants wrapped in `Fixed`.
    :param outputs: nested tuples, lists and dictionaries whose leaves are `Ref`s or `Fixed`.
    :param aliases: further state_dict names of tied parameters, each with the name in the graph.
    """

    nodes: list[Node]
    inputs: tuple[TensorType, ...]
    signature: tuple[Any, Any]
    outputs: Any
    aliases: dict[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    @property
    def parameters(self) -> list[Node]:
        """The parameter nodes, in order of appearance."""
        return [node for node in self.nodes if node.operator == PARAMETER]

    @property
    def operators(self) -> list[Node]:
        """The nodes that compute something, in order."""
        return [node for node in self.nodes if node.operator not in (INPUT, PARAMETER)]

    def output_refs(self) -> list[Ref]:
        """The values that the network returns."""
        return list(refs_in(self.outputs))

    def users(self) -> dict[Node, list[Node]]:
        """The nodes that take a result of each node, in order, each once."""
        found: dict[Node, list[Node]] = {node: [] for node in self.nodes}
        for node in self.nodes:
            for source in dict.fromkeys(ref.node for ref in node.refs()):
                found[source].append(node)
        return found

    def copy(self) -> Graph:
        """The same graph of new nodes."""
        new: dict[Node, Node] = {}

        def moved(ref: Ref) -> Ref:
            return Ref(new[ref.node], ref.index)

        for node in self.nodes:
            arguments = {name: map_refs(value, moved) for name, value in node.arguments.items()}
            new[node] = Node(node.operator, arguments, node.name, node.scope)
        outputs = map_refs(self.outputs, moved)
        return Graph(list(new.values()), self.inputs, self.signature, outputs, dict(self.aliases))

    def replace(self, old: Ref, new: Ref) -> None:
        """Let every reader of `old`, and the network's outputs, read `new` instead; in place."""

        def swapped(ref: Ref) -> Ref:
            return new if ref == old else ref

        for node in self.nodes:
            for name, value in node.arguments.items():
                node.arguments[name] = map_refs(value, swapped)
        self.outputs = map_refs(self.outputs, swapped)

    def prune(self) -> None:
        """Drop nodes that no output depends on; inputs stay. In place."""
        needed = {ref.node for ref in self.output_refs()}
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if node in needed or node.operator == INPUT:
                kept.append(node)
                needed.update(ref.node for ref in node.refs())
        self.nodes = kept[::-1]
        names = {node.name for node in self.parameters}
        self.aliases = {alias: name for alias, name in self.aliases.items() if name in names}


@dataclass(frozen=True)
class Fixed:
    """A constant among the inputs or outputs of a network: None, a number, a flag or a string."""

    value: Any


def refs_in(value: Any) -> Iterator[Ref]:
    """The `Ref`s in an argument or in nested outputs."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from refs_in(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from refs_in(part)


def map_refs(value: Any, change: Callable[[Ref], Any]) -> Any:
    """The same nested value with each `Ref` replaced by what `change` says."""
    if isinstance(value, Ref):
        return change(value)
    if isinstance(value, tuple | list):
        return type(value)(map_refs(part, change) for part in value)
    if isinstance(value, dict):
        return {key: map_refs(part, change) for key, part in value.items()}
    return value


def map_leaves(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same nested tuples, lists and dictionaries with each leaf replaced."""
    if isinstance(value, tuple | list):
        return type(value)(map_leaves(part, change) for part in value)
    if isinstance(value, dict):
        return {key: map_leaves(part, change) for key, part in value.items()}
    return change(value)
