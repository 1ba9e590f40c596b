"""The attributes of a graph's operators: kernel sizes, axes, flags, factors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.ir import Ref
from ..graph.operators import Argument, Operator
from .graph_limits import DTYPES, MAX_ITEMS, MAX_TEXT, int_limits, words
from .graph_symbols import Symbols

_DEFAULT, _PREDICTED, _AGAIN, _EXPLICIT = range(4)


class Attributes:
    """Codes the attributes of one graph's operators.

    :param ref: codes a reference to a computed size, given the argument's name.
    """

    def __init__(self, symbols: Symbols, ref: Callable[[Any, str], Ref]) -> None:
        self._symbols, self._ref = symbols, ref
        self._last: dict[tuple, Any] = {}
        self._before: Any = None  # the attribute before

    def code(self, row: Operator, argument: Argument, value: Any, known: dict[str, Any]) -> Any:
        """One attribute; `known` says what is known of the arguments before it.

        :raises ValueError: it cannot be this.
        """
        where = (row.number, argument.name)
        value = _plain(argument, value)
        candidates = [
            ... if argument.required else _plain(argument, argument.default),
            _predicted(row, argument, known),
            self._last.get(where, ...),
        ]
        matches = (i for i, c in enumerate(candidates) if c is not ... and _same(c, value))
        which = next(matches, _EXPLICIT)
        contexts = [where, (where, repr(self._before)), (where, repr(candidates[2]))]
        which = self._symbols.choice(which, 4, contexts)
        if which == _EXPLICIT:
            value = self._explicit(row, argument, value, where, known)
        else:
            value = candidates[which]
            if value is ...:
                raise ValueError(f"operator {row.name} has no {argument.name} before this")
        self._before = None if _holds_ref(value) else value
        if not _holds_ref(value):
            self._last[where] = value
        return value

    def _explicit(
        self, row: Operator, argument: Argument, value: Any, where: tuple, known: dict[str, Any]
    ) -> Any:
        s, kind = self._symbols, argument.kind
        if kind.endswith("?"):
            if s.flag(value is None, [("none", where)]):
                return None
            kind = kind[:-1]
        low, high = int_limits(row, argument)
        if kind == "int":
            if s.flag(isinstance(value, Ref), ["ref", ("ref", where)]):
                return self._ref(value, argument.name)
            return s.integer(_number(value), low, high, ["int", where, (where, self._shape(known))])
        if kind == "size":
            if s.flag(isinstance(value, Ref), ["ref", ("ref", where)]):
                return self._ref(value, argument.name)
            return s.real(value if type(value) in (int, float) else 0, ["real", where])
        if kind in ("ints", "pads", "sizes"):
            return self._integers(row, argument, value, where, known)
        if kind in ("real", "number"):
            return s.real(value if isinstance(value, int | float) else 0, ["real", where])
        if kind == "flag":
            return s.flag(bool(value), ["flag", where])
        if kind == "dtype":
            which = DTYPES.index(value) if value in DTYPES else 15
            which = s.choice(which if value else 14, 16, ["dtype", where])
            return DTYPES[which] if which < len(DTYPES) else None if which == 14 else _refuse(value)
        choices = words(row, argument)
        if choices is None:
            return s.text(value or "", MAX_TEXT, where)
        which = choices.index(value) if value in choices else len(choices)
        which = s.choice(which, len(choices) + 1, [where])
        return choices[which] if which < len(choices) else _refuse(value)

    def _shape(self, known: dict[str, Any]) -> int:
        source = known.get("input")
        return len(source) if isinstance(source, tuple) else 0

    def _integers(
        self, row: Operator, argument: Argument, value: Any, where: tuple, known: dict[str, Any]
    ) -> Any:
        s, (low, high) = self._symbols, int_limits(row, argument)
        if argument.kind == "pads" and s.flag(value == "same", [("same", where)]):
            return "same"
        parts = value if isinstance(value, tuple) else ()
        source = known.get("input")
        source = source if isinstance(source, tuple) else ()
        count = argument.count
        if not count:
            contexts = [("count", where), ("count", where, len(source))]
            count = s.number(len(parts), MAX_ITEMS, contexts)
        found: list[Any] = []
        for place in range(count):
            part = parts[place] if parts else 0
            here = (where, count, min(place, 8))
            if argument.kind == "sizes":
                if s.flag(isinstance(part, Ref), [("ref", where), here]):
                    found.append(self._ref(part, argument.name))
                    continue
                size = source[place] if place < len(source) else -1
                if s.flag(part == size, [("kept", where), here]):
                    found.append(size)
                    continue
            elif place and s.flag(part == found[-1], [("equal", where), here]):
                found.append(found[-1])
                continue
            near = found[-1] if found and isinstance(found[-1], int) else None
            contexts = ["ints", here, (here, near), (here, len(source), repr(self._before))]
            found.append(s.integer(_number(part), low, high, contexts))
        return tuple(found)


def _plain(argument: Argument, value: Any) -> Any:
    """An attribute in the one form that it has in a file: real numbers are floats."""
    if argument.kind.startswith("real") and value is not None and value is not ...:
        return float(value)
    if argument.count and isinstance(value, tuple) and len(value) == 1:
        return value * argument.count
    return value


def _same(a: Any, b: Any) -> bool:
    """Whether two attributes are the same, types and NaN included."""
    return a is b or (type(a) is type(b) and not _holds_ref(b) and repr(a) == repr(b))


def _holds_ref(value: Any) -> bool:
    parts = value if isinstance(value, tuple) else (value,)
    return any(isinstance(part, Ref) for part in parts)


def _predicted(row: Operator, argument: Argument, known: dict[str, Any]) -> Any:
    """What an attribute may well be, given the input's shape."""
    source = known.get("input")
    if not isinstance(source, tuple) or len(source) < 2 or not all(type(n) is int for n in source):
        return ...
    if argument.name == "normalized_shape":
        return source[-1:]
    if argument.name == "groups":
        return source[1]
    if row.name == "split" and argument.name == "sizes":
        return (source[-1] // 3,) * 3
    return ...


def _number(value: Any) -> int:
    return value if type(value) is int else 0


def _refuse(value: Any) -> Any:
    raise ValueError(f"a file cannot hold the attribute {value!r}")
