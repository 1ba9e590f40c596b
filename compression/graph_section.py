"""The operators of a graph as a stream of symbols, each where it is the usual one next to nothing.

`GraphCoder` writes a `Described` network, or reads one: the same code does both, so that they
agree. While it runs it works out the shape of every value (`graph_shapes`). The shapes say what the
next parameter can look like, and graphs that cannot be computed are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from ..graph.ir import INPUT, Fixed, Graph, Node, Ref, TensorType
from ..graph.operators import Argument, Operator
from ..graph.table import BY_NUMBER, OPERATORS
from .errors import CorruptFile
from .graph_limits import (
    DTYPES,
    MAX_DEPTH,
    MAX_INPUTS,
    MAX_ITEMS,
    MAX_LEAVES,
    MAX_NAME,
    MAX_OPERATORS,
    check_ints,
)
from .graph_parameters import GraphParameters
from .graph_parts import Described, coding_order
from .graph_shapes import BATCH, MAX_DIMS, MAX_ELEMENTS, MAX_WORK, result_of
from .graph_symbols import Symbols

_LEAF, _FIXED, _TUPLE, _LIST, _DICT = range(5)


class GraphCoder(GraphParameters):
    """Codes one graph: inputs, operators with their parameters, outputs.

    :param symbols: where it is written to, or read from.
    :param source: the network to write; None to read.
    """

    def __init__(self, symbols: Symbols, source: Described | None = None) -> None:
        super().__init__(symbols, source)
        self._work = 0  # multiply-adds
        self._leaves = 0  # of the signature and the outputs

    def run(self) -> Described:
        """The network that was written or read, its nodes new.

        :raises CorruptFile, ValueError: it makes no sense, or is beyond the limits.
        """
        old = self._source.graph if self._source else None
        inputs = self._inputs(old)
        operators = iter(old.operators if old else [])
        while True:
            node = next(operators, None)
            row = self._operator(node)
            if row is None:
                break
            self._node(row, node)
        signature = tuple(
            self._nest(part, self._input_number, 0)
            for part in (old.signature if old else (None, None))
        )
        outputs = self._nest(old.outputs if old else None, self._output, 0)
        _check_signature(signature, len(inputs))
        graph = Graph(self.nodes, inputs, signature, outputs)
        return Described(graph, self.entries, self.picked)

    def _inputs(self, old: Graph | None) -> tuple[TensorType, ...]:
        given = old.inputs if old else ()
        count = self._symbols.number(len(given), MAX_INPUTS, ["inputs"])
        kinds = []
        nodes = [n for n in old.nodes if n.operator == INPUT] if old else []
        for place in range(count):
            kind = given[place] if old else TensorType((), "float32")
            kinds.append(self._input_type(kind, place))
            node = self._add(Node(INPUT, name=str(place)))
            if old:
                self._new[next(n for n in nodes if n.name == str(place))] = node
            shape = tuple(BATCH if n is None else n for n in kinds[-1].shape)
            if prod(shape) > MAX_ELEMENTS:
                raise ValueError(f"input {place} has shape {shape}")
            self._put(node, shape)
        return tuple(kinds)

    def _input_type(self, kind: TensorType, place: int) -> TensorType:
        s, sizes = self._symbols, list(kind.shape)
        rank = s.number(len(sizes), MAX_DIMS, ["rank"])
        sizes = sizes or [0] * rank
        shape: list[int | None] = []
        for axis in range(rank):
            where = ("input", rank, axis)
            if s.flag(sizes[axis] is None, [("batch", axis), where]):
                shape.append(None)
                continue
            near = shape[-1] if shape and shape[-1] is not None else 0
            shape.append(self._size(sizes[axis] or 0, [near], [where]))
        if kind.dtype not in DTYPES:
            raise ValueError(f"an input is {kind.dtype}; a file knows {', '.join(DTYPES)}")
        known = s.choice(DTYPES.index(kind.dtype), len(DTYPES), ["input", rank])
        return TensorType(tuple(shape), DTYPES[known])

    def _nest(self, value: Any, leaf: Callable[[Any], Any], depth: int) -> Any:
        """Nested tuples, lists and dictionaries, as in a graph's signature and outputs."""
        kinds = {tuple: _TUPLE, list: _LIST, dict: _DICT, Fixed: _FIXED}
        where = [("nest", leaf.__name__, depth)]
        kind = self._symbols.choice(kinds.get(type(value), _LEAF), 5, where)
        if kind == _LEAF:
            return leaf(value)
        if kind == _FIXED:
            return Fixed(self._constant(value.value if value else None))
        if depth == MAX_DEPTH:
            raise ValueError("inputs or outputs are nested too deep")
        parts = list(value.values()) if isinstance(value, dict) else list(value or ())
        keys = list(value) if isinstance(value, dict) else []
        if not all(isinstance(key, str) for key in keys):
            raise ValueError("a dictionary of inputs or outputs has keys that are not texts")
        count = self._symbols.number(len(parts), MAX_LEAVES, [(*where[0], kind)])
        found, names = [], []
        for place in range(count):
            if kind == _DICT:
                names.append(self._symbols.word(keys[place] if keys else "", MAX_NAME, ["key"]))
            found.append(self._nest(parts[place] if parts else None, leaf, depth + 1))
        if kind == _DICT:
            if len(set(names)) < count:
                raise ValueError("a dictionary has a key twice")
            return dict(zip(names, found, strict=True))
        return tuple(found) if kind == _TUPLE else found

    def _constant(self, value: Any) -> Any:
        s = self._symbols
        which = s.choice(0 if value is None else 1 if isinstance(value, str) else 2, 3, ["fixed"])
        if which == 0:
            return None
        return (
            s.word(value or "", MAX_NAME, ["key"]) if which == 1 else s.real(value or 0, ["fixed"])
        )

    def _input_number(self, value: int | None) -> int:
        self._count_leaf()
        return self._symbols.number(value or 0, MAX_INPUTS, ["input number"])

    def _output(self, ref: Ref | None) -> Ref:
        self._count_leaf()
        return self._ref(ref, None, Argument("output", "tensor"), 0, {}, ())

    def _count_leaf(self) -> None:
        self._leaves += 1
        if self._leaves > MAX_LEAVES:
            raise ValueError(f"a network with more than {MAX_LEAVES} inputs and outputs")

    def _operator(self, node: Node | None) -> Operator | None:
        """The row of the next operator; None behind the last one."""
        h = self._history
        number = OPERATORS[node.operator].number if node else 0
        contexts = [
            "op", ("op", h[-1]), ("op", *h[-2:]), ("op", *h[-3:]),
            ("op", *h[-6:]), ("op", h[-1], len(self._unread)),
        ]  # fmt: skip
        number = self._symbols.choice(number, MAX_OPERATORS, contexts)
        h.append(number)
        if number and number not in BY_NUMBER:
            raise CorruptFile(f"the file uses operator {number}, which this bitsback does not know")
        return BY_NUMBER[number] if number else None

    def _node(self, row: Operator, old: Node | None) -> None:
        if old:
            for name, value in row.bind(old.arguments).items():
                check_ints(row, row.argument(name), value)
        known: dict[str, Any] = {}
        arguments: dict[str, Any] = {}
        node = Node(row.name, arguments)
        kinds: tuple[int, ...] = ()
        self._before = None
        for argument in coding_order(row):
            given = old.arguments[argument.name] if old else None
            if argument.is_tensor:
                value, kinds = self._tensor(given, row, argument, known, kinds, node)
            else:
                value = self._attributes.code(row, argument, given, known)
                check_ints(row, argument, value)
            arguments[argument.name] = value
            known[argument.name] = self._known(value)
        bound = row.bind(arguments)
        arguments.clear()
        arguments.update(bound)
        known = {name: self._known(value) for name, value in bound.items()}
        if row.name == "pick":
            known["count"] = self._pick_count(node, old, known)
        result, work = result_of(row.name, known)
        self._work += work
        if self._work > MAX_WORK:
            raise ValueError("the network takes too many multiplications")
        self._add(node)
        if old:
            self._new[old] = node
        self._put(node, result)

    def _pick_count(self, node: Node, old: Node | None, known: dict[str, Any]) -> int:
        most = known["input"][-1] if known["input"] else 0
        given = self._source.picked[old] if old else 0
        self.picked[node] = self._symbols.number(given, most, ["pick"])
        return self.picked[node]

    def _tensor(
        self, given: Any, row: Operator, argument: Argument, known: dict, kinds: tuple, node: Node
    ) -> tuple[Any, tuple[int, ...]]:
        """A value, or a tuple of values; and the kinds of all references so far."""
        if argument.kind != "tensors":
            value = self._ref(given, node, argument, 0, known, kinds)
            return value, (*kinds, self._kind)
        where = (row.number, argument.name)
        count = self._symbols.number(
            len(given or ()), MAX_ITEMS, [where, (*where, self._history[-2])]
        )
        values: list[Any] = []
        for place in range(count):
            known[argument.name] = tuple(self._known(v) for v in values)
            values.append(
                self._ref(given[place] if given else None, node, argument, place, known, kinds)
            )
            kinds = (*kinds[-2:], self._kind)
        return tuple(values), kinds


def _check_signature(signature: tuple, count: int) -> None:
    """Raise ValueError unless a signature passes each input once."""
    found: list[int] = []

    def collect(value: Any) -> None:
        if type(value) is int:
            found.append(value)
        elif isinstance(value, dict | list | tuple):
            for part in value.values() if isinstance(value, dict) else value:
                collect(part)

    collect(signature)
    positional, named = signature
    passed = type(positional) is tuple and type(named) is dict
    if not passed or sorted(found) != list(range(count)):
        raise ValueError("its inputs are not passed one by one")
