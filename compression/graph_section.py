"""The operators of a graph as a stream of symbols, each where it is the usual one next to nothing.

`GraphCoder` writes a `Described` network, or reads one: the same code does both, so that they agree.
While it runs it works out the shape of every value (`graph_shapes`), which says what the next
parameter can look like and refuses graphs that cannot be computed.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from ..graph.ir import INPUT, PARAMETER, Fixed, Graph, Node, Ref, TensorType
from ..graph.operators import Argument, Operator
from ..graph.table import BY_NUMBER, OPERATORS
from .errors import CorruptFile
from .graph_attributes import Attributes
from .graph_limits import (
    DTYPES,
    MAX_DEPTH,
    MAX_INPUTS,
    MAX_ITEMS,
    MAX_LEAVES,
    MAX_NAME,
    MAX_NODES,
    MAX_PARAMETERS,
    MAX_OPERATORS,
    MAX_VALUES,
    check_ints,
)
from .graph_parts import Described, Entry, coding_order, expected_shape
from .graph_shapes import BATCH, MAX_DIMS, MAX_ELEMENTS, MAX_WORK, result_of
from .graph_symbols import Symbols
from .nodes import DTYPES as STORED
from .nodes import FLOATS, ROLES

_LAST, _NEW, _NEXT, _UNREAD, _BACK, _NONE, _NUMBER, _OLD = range(8)
_LEAF, _FIXED, _TUPLE, _LIST, _DICT = range(5)
_BYTES = {"float64": 8, "int64": 8, "float32": 4, "int32": 4, "float16": 2, "int16": 2}


class GraphCoder:
    """Codes one graph: inputs, operators with their parameters, outputs.

    :param symbols: where it is written to, or read from.
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
        self._attributes = Attributes(symbols, self._number_ref)
        self._work = self._bytes = 0
        self._rows = 0  # of the last matrix or kernel
        self._outputs = 64

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

    # --- Inputs and outputs -------------------------------------------------------------------------

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
                names.append(
                    self._symbols.word(keys[place] if keys else "", MAX_NAME, ["key"])
                )
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
        return s.word(value or "", MAX_NAME, ["key"]) if which == 1 else s.real(value or 0, ["fixed"])

    def _input_number(self, value: int | None) -> int:
        self._count_output()
        return self._symbols.number(value or 0, MAX_INPUTS, ["input number"])

    def _output(self, ref: Ref | None) -> Ref:
        self._count_output()
        return self._ref(ref, None, Argument("output", "tensor"), 0, {}, ())

    def _count_output(self) -> None:
        self._outputs += 1
        if self._outputs > MAX_LEAVES:
            raise ValueError(f"a network with more than {MAX_LEAVES} inputs and outputs")

    # --- Operators ----------------------------------------------------------------------------------

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
        count = self._symbols.number(len(given or ()), MAX_ITEMS, [where, (*where, self._history[-2])])
        values: list[Any] = []
        for place in range(count):
            known[argument.name] = tuple(self._known(v) for v in values)
            values.append(
                self._ref(given[place] if given else None, node, argument, place, known, kinds)
            )
            kinds = (*kinds[-2:], self._kind)
        return tuple(values), kinds

    def _known(self, value: Any) -> Any:
        """What is known of an argument: the shape of a value, the parts of a tuple."""
        if isinstance(value, tuple):
            return tuple(self._known(part) for part in value)
        return self._shapes[value] if isinstance(value, Ref) else value

    # --- References ---------------------------------------------------------------------------------

    def _ref(
        self, given: Any, node: Node | None, argument: Argument, place: int, known: dict, kinds: tuple
    ) -> Any:
        s, where = self._symbols, (node.operator if node else "", argument.name, min(place, 4))
        ref = Ref(self._new.get(given.node, given.node), given.index) if isinstance(given, Ref) else given
        contexts = [where, (where, self._history[-2]), (where, kinds), (where, *self._history[-4:])]
        contexts.append((where, kinds, len(self._unread)))
        kind = self._kind = s.choice(self._kind_of(ref), 8, contexts)
        if kind == _NONE:
            return None
        if kind == _NUMBER:
            return s.real(given if given is not None else 0, [where])
        if kind == _NEW:
            return self._parameter(given, node, argument, place, known, where)
        if kind == _OLD:
            most = len(self.entries) - 1
            at = self.entries.index(next(e for e in self.entries if e.node is ref.node)) if given else 0
            back = s.number(most - at, _some(most), [where, (where, most)])
            return Ref(self.entries[most - back].node)
        found = self._found(kind, ref, where)
        if argument.is_tensor and not isinstance(self._shapes[found], tuple):
            raise ValueError(f"{argument.name} must be a tensor, not a size")
        self._unread.pop(found, None)
        self._before = found
        return found

    def _kind_of(self, ref: Any) -> int:
        if ref is None:
            return _NONE
        if not isinstance(ref, Ref):
            return _NUMBER
        if ref.node.operator == PARAMETER:
            return _NEW if ref.node in self._given else _OLD
        if ref == self._last():
            return _LAST
        if self._before is not None and ref == Ref(self._before.node, self._before.index + 1):
            return _NEXT
        return _UNREAD if ref in self._unread else _BACK

    _before: Ref | None = None
    _kind = _LAST

    def _last(self) -> Ref | None:
        return Ref(self._values[-1].node) if self._values else None

    def _found(self, kind: int, ref: Any, where: tuple) -> Ref:
        """The value that a reference of a kind stands for."""
        s = self._symbols
        if kind == _LAST:
            found = self._last()
        elif kind == _NEXT:
            found = Ref(self._before.node, self._before.index + 1) if self._before else None
        elif kind == _UNREAD:
            unread = list(self._unread)
            at = unread.index(ref) if ref in self._unread else 0
            at = s.number(at, _some(len(unread) - 1), [where, (where, len(unread))])
            found = unread[at]
        else:
            most = len(self._values) - 1
            at = most - self._values.index(ref) if ref in self._shapes else 0
            at = s.number(at, _some(most), ["back", where, (where, *self._history[-3:])])
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

    # --- Parameters ---------------------------------------------------------------------------------

    def _parameter(
        self, given: Ref | None, node: Node | None, argument: Argument, place: int, known: dict, where: Any
    ) -> Ref:
        s = self._symbols
        old = self._given.pop(given.node) if given else None
        row = OPERATORS[node.operator] if node else None
        expected = expected_shape(row, argument.name, place, known) if row else None
        like = next((v for v in known.values() if isinstance(v, tuple) and _is_sizes(v)), ())
        shape = self._shape(old.shape if old else (), expected, like, where)
        last = self.entries[-1].dtype if self.entries else "float32"
        code = s.choice(DTYPES.index(old.dtype) if old else 0, 16, [("dtype", last), (where, last)])
        dtype = DTYPES[code] if code < len(DTYPES) else ""
        wide = sum(n > 1 for n in shape) > 1
        known_role = ROLES.index(old.role) if old else 0
        role = ROLES[s.choice(known_role, 4, [("role", wide, code), (where, code)])]
        trains = s.flag(old.trains if old else False, [("trains", role), where])
        fits = {"raw": dtype in STORED, "mask": dtype == "bool"}.get(role, dtype in FLOATS)
        if not fits or (trains and dtype not in FLOATS):
            raise ValueError(f"a {role} of dtype {dtype or code}")
        self._bytes += prod(shape) * _BYTES.get(dtype, 1)
        if self._bytes > MAX_PARAMETERS:
            raise ValueError("its parameters take too many bytes")
        made = self._add(Node(PARAMETER, name=old.node.name if old else ""))
        if old:
            self._new[old.node] = made
        self._shapes[Ref(made)] = shape
        self.entries.append(
            Entry(shape, dtype, role, trains, made, node, (argument.name, place))
        )
        self._rows = shape[0] if len(shape) > 1 else self._rows
        return Ref(made)

    def _shape(self, given: tuple, expected: Any, like: tuple, where: Any) -> tuple[int, ...]:
        s = self._symbols
        if expected is not None and s.flag(_fits(given, expected), [("as expected",), where]):
            shape: list[int] = []
            for axis, size in enumerate(expected):
                if size is None:
                    here = given[axis] if given else 0
                    size = self._size(here, self._guesses(axis, shape, expected), [(where, axis)])
                shape.append(size)
            return tuple(shape)
        rank = s.number(len(given), MAX_DIMS, [("rank", where), ("rank", where, len(like))])
        given = given or (0,) * rank
        guess = (1,) * max(rank - len(like), 0) + tuple(like)[max(len(like) - rank, 0) :]
        return tuple(
            self._size(given[a], [guess[a], 1], [("axis", rank, a), (where, rank, a)]) for a in range(rank)
        )

    def _guesses(self, axis: int, shape: list[int], expected: tuple) -> list[int]:
        """What a size of a new parameter may well be."""
        if axis > 1 and len(expected) > 3:
            return [shape[-1]] if axis > 2 else []
        other = expected[1 - axis] if len(expected) > 1 and axis < 2 else 0
        return [other or 0, self._rows]

    def _size(self, value: int, guesses: list[int], contexts: list) -> int:
        """A size that may be one of a few guesses."""
        at = guesses.index(value) if value in guesses else len(guesses)
        at = self._symbols.choice(at, len(guesses) + 1, [("guess", len(guesses)), *contexts]) if guesses else 0
        if at < len(guesses):
            return guesses[at]
        limit = MAX_ELEMENTS - 1
        return self._symbols.number(value, limit, ["size", *contexts, (*contexts, tuple(guesses))])

    # --- Nodes --------------------------------------------------------------------------------------

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


def _some(limit: int) -> int:
    """A limit that is not negative; there is nothing to refer to otherwise."""
    if limit < 0:
        raise ValueError("a reference to nothing")
    return limit


def _is_sizes(value: tuple) -> bool:
    return all(isinstance(part, int) for part in value)


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(
        e is None or e == n for n, e in zip(shape, expected, strict=True)
    )


def _check_signature(signature: tuple, count: int) -> None:
    """Raise ValueError unless a signature passes each input once."""
    found: list[int] = []

    def collect(value: Any) -> None:
        if isinstance(value, int) and not isinstance(value, bool):
            found.append(value)
        for part in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
            collect(part)

    collect(signature)
    positional, named = signature
    if sorted(found) != list(range(count)) or type(positional) is not tuple or type(named) is not dict:
        raise ValueError("its inputs are not passed one by one")
