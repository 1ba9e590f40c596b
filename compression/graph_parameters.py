"""The parameters of a graph that is being coded: shapes, dtypes and roles."""

from __future__ import annotations

from math import prod
from typing import Any

from ..graph.ir import PARAMETER, Node, Ref
from ..graph.operators import Argument
from ..graph.table import OPERATORS
from .graph_limits import DTYPES, MAX_PARAMETERS
from .graph_parts import Described, Entry, expected_shape
from .graph_shapes import MAX_DIMS, MAX_ELEMENTS
from .graph_symbols import Symbols
from .graph_values import GraphValues
from .nodes import DTYPES as STORED
from .nodes import FLOATS, ROLES

_BYTES = {"float64": 8, "int64": 8, "float32": 4, "int32": 4, "float16": 2, "int16": 2}


class GraphParameters(GraphValues):
    """Codes new parameters, right before the operator that reads them first."""

    def __init__(self, symbols: Symbols, source: Described | None = None) -> None:
        super().__init__(symbols, source)
        self._bytes = 0  # of all parameters
        self._rows = 0  # of the last matrix or kernel

    def _parameter(
        self,
        given: Ref | None,
        node: Node | None,
        argument: Argument,
        place: int,
        known: dict,
        where: Any,
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
        self.entries.append(Entry(shape, dtype, role, trains, made, node, (argument.name, place)))
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
            self._size(given[a], [guess[a], 1], [("axis", rank, a), (where, rank, a)])
            for a in range(rank)
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
        at = (
            self._symbols.choice(at, len(guesses) + 1, [("guess", len(guesses)), *contexts])
            if guesses
            else 0
        )
        if at < len(guesses):
            return guesses[at]
        limit = MAX_ELEMENTS - 1
        return self._symbols.number(value, limit, ["size", *contexts, (*contexts, tuple(guesses))])


def _is_sizes(value: tuple) -> bool:
    return all(isinstance(part, int) for part in value)


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(
        e is None or e == n for n, e in zip(shape, expected, strict=True)
    )
