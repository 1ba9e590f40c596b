"""The values of a graph that is being coded, and references to them."""

from __future__ import annotations

from typing import Any

from ..graph.ir import PARAMETER, Node, Ref
from ..graph.operators import Argument
from ..graph.table import OPERATORS
from .graph_attributes import Attributes
from .graph_limits import MAX_NODES, MAX_VALUES
from .graph_parts import Described, Entry
from .graph_symbols import Symbols

LAST, NEW, NEXT, UNREAD, BACK, NONE, NUMBER, OLD = range(8)  # kinds of references


class GraphValues:
    """What is known of a graph up to here; codes references to it.

    :param symbols: where the graph is written to, or read from.
    :param source: the network to write; None to read.
    """

    def __init__(self, symbols: Symbols, source: Described | None = None) -> None:
        self._symbols = symbols
        self._source = source
        self._given = {e.node: e for e in source.entries} if source else {}
        self._new: dict[Node, Node] = {}  # the nodes of the source, and those here
        self.nodes: list[Node] = []
        self.entries: list[Entry] = []
        self.picked: dict[Node, int] = {}
        self._shapes: dict[Ref, Any] = {}
        self._values: list[Ref] = []  # all but parameters
        self._unread: dict[Ref, None] = {}
        self._history: list[int] = [0, 0, 0, 0]  # numbers of the last operators
        self._before: Ref | None = None  # the reference before, of the same operator
        self._kind = LAST  # of that
        self._attributes = Attributes(symbols, self._number_ref)

    def _add(self, node: Node) -> Node:
        if len(self.nodes) == MAX_NODES:
            raise ValueError(f"the graph has more than {MAX_NODES} nodes")
        self.nodes.append(node)
        return node

    def _put(self, node: Node, result: Any) -> None:
        """Note a node's results."""
        row = OPERATORS.get(node.operator)
        results = result if isinstance(result, list) else [result]
        if row is not None and row.results and row.results != len(results):
            raise ValueError(f"operator {row.name} has {len(results)} results")
        if len(self._values) + len(results) > MAX_VALUES:
            raise ValueError(f"the graph has more than {MAX_VALUES} values")
        for index, shape in enumerate(results):
            ref = Ref(node, index)
            self._shapes[ref] = shape
            self._values.append(ref)
            self._unread[ref] = None

    def _known(self, value: Any) -> Any:
        """What is known of an argument: the shape of a value, the parts of a tuple."""
        if isinstance(value, tuple):
            return tuple(self._known(part) for part in value)
        return self._shapes[value] if isinstance(value, Ref) else value

    def _ref(
        self,
        given: Any,
        node: Node | None,
        argument: Argument,
        place: int,
        known: dict,
        kinds: tuple,
    ) -> Any:
        s, where = self._symbols, (node.operator if node else "", argument.name, min(place, 4))
        ref = (
            Ref(self._new.get(given.node, given.node), given.index)
            if isinstance(given, Ref)
            else given
        )
        contexts = [where, (where, self._history[-2]), (where, kinds), (where, *self._history[-4:])]
        contexts.append((where, kinds, len(self._unread)))
        kind = self._kind = s.choice(self._kind_of(ref), 8, contexts)
        if kind == NONE:
            return None
        if kind == NUMBER:
            return s.real(given if given is not None else 0, [where])
        if kind == NEW:
            return self._parameter(given, node, argument, place, known, where)
        if kind == OLD:
            most = len(self.entries) - 1
            at = (
                self.entries.index(next(e for e in self.entries if e.node is ref.node))
                if given
                else 0
            )
            back = s.number(most - at, _at_least_0(most), [where, (where, most)])
            return Ref(self.entries[most - back].node)
        found = self._found(kind, ref, where)
        if argument.is_tensor and not isinstance(self._shapes[found], tuple):
            raise ValueError(f"{argument.name} must be a tensor, not a size")
        self._unread.pop(found, None)
        self._before = found
        return found

    def _kind_of(self, ref: Any) -> int:
        if ref is None:
            return NONE
        if not isinstance(ref, Ref):
            return NUMBER
        if ref.node.operator == PARAMETER:
            return NEW if ref.node in self._given else OLD
        if ref == self._last():
            return LAST
        if self._before is not None and ref == Ref(self._before.node, self._before.index + 1):
            return NEXT
        return UNREAD if ref in self._unread else BACK

    def _last(self) -> Ref | None:
        return Ref(self._values[-1].node) if self._values else None

    def _found(self, kind: int, ref: Any, where: tuple) -> Ref:
        """The value that a reference of a kind stands for."""
        s = self._symbols
        if kind == LAST:
            found = self._last()
        elif kind == NEXT:
            found = Ref(self._before.node, self._before.index + 1) if self._before else None
        elif kind == UNREAD:
            unread = list(self._unread)
            at = unread.index(ref) if ref in self._unread else 0
            at = s.number(at, _at_least_0(len(unread) - 1), [where, (where, len(unread))])
            found = unread[at]
        else:
            most = len(self._values) - 1
            at = most - self._values.index(ref) if ref in self._shapes else 0
            at = s.number(at, _at_least_0(most), ["back", where, (where, *self._history[-3:])])
            found = self._values[most - at]
        if found not in self._shapes:
            raise ValueError("a value that is not there")
        return found

    def _number_ref(self, given: Any, where: str) -> Ref:
        """A reference to a size."""
        found = self._ref(given, None, Argument(where, "int"), 0, {}, ())
        if not isinstance(found, Ref) or not isinstance(self._shapes[found], int):
            raise ValueError(f"{where} must be a size, not a tensor")
        return found

    def _parameter(
        self,
        given: Ref | None,
        node: Node | None,
        argument: Argument,
        place: int,
        known: dict,
        where: Any,
    ) -> Ref:
        raise NotImplementedError


def _at_least_0(limit: int) -> int:
    """A limit that is not negative; there is nothing to refer to otherwise."""
    if limit < 0:
        raise ValueError("a reference to nothing")
    return limit
