"""The state_dict names of a graph's parameters, nearly free where a rule gives them.

A name is a path of modules and a last part. The last part is the argument's name in torch's own
layers, and the second parameter of an operator stands beside its first. A path is what it shares
with the path before, and the parts after that: a word and a number each.
"""

from __future__ import annotations

import re

from ..graph.ir import Node
from .graph_limits import MAX_NAME
from .graph_parts import Entry, Layer, usual_leaf
from .graph_symbols import Symbols
from .taken_names import MODULE

MAX_PARTS = 32  # of a path
MAX_NUMBER = 1 << 20  # at the end of a part
_PART = re.compile(r"(.*?)(0|[1-9][0-9]{0,5})?", re.DOTALL)


class Names:
    """Codes the names of one graph's parameters, in their order."""

    def __init__(self, symbols: Symbols) -> None:
        self._symbols = symbols
        self._path: tuple[str, ...] = ()
        self._paths: dict[Node | None, tuple[str, ...]] = {}
        self._layers: dict[Node | None, Layer | None] = {}  # of recurrent operators

    def code(self, name: str, entry: Entry) -> str:
        """One parameter's name.

        :param name: the name to write.
        :param entry: what is known of the parameter.
        """
        s, reader = self._symbols, entry.reader
        operator = reader.operator if reader else ""
        where = (operator, entry.argument[0], min(entry.argument[1], 4))
        *path, leaf = name.split(".")
        if entry.argument == ("params", 0):
            self._layers[reader] = self._code_layer(leaf, reader)
        usual = usual_leaf(reader, entry.argument, self._layers.get(reader))
        if usual and s.flag(leaf == usual, ["leaf", ("leaf", where)]):
            leaf = usual
        else:
            leaf = s.word(leaf, MAX_NAME, ["leaf", ("leaf", where)])
        beside = self._paths.get(reader)
        if beside is None or not s.flag(tuple(path) == beside, ["beside", ("beside", where)]):
            self._path = self._code_path(tuple(path), operator)
            beside = self._paths.setdefault(reader, self._path)
            return ".".join((*self._path, leaf))
        return ".".join((*beside, leaf))

    def _code_layer(self, leaf: str, reader: Node | None) -> Layer | None:
        """Which layer of a recurrent network an operator is, by the name of its first parameter.

        It is the first one, the next one, or the one before backwards; None if by no rule.
        """
        last = next(reversed(self._layers.values()), None)
        guesses: list[Layer] = [(0, False)]
        if last is not None:
            guesses += [(last[0] + 1, False), (last[0], True)]
        names = [usual_leaf(reader, ("params", 0), guess) for guess in guesses]
        at = names.index(leaf) if leaf in names else 3
        at = self._symbols.choice(at, 4, ["layer", ("layer", last is None)])
        return guesses[at] if at < len(guesses) else None

    def _code_path(self, path: tuple[str, ...], operator: str) -> tuple[str, ...]:
        s, before = self._symbols, self._path
        shared = 0
        while shared < min(len(path), len(before)) and path[shared] == before[shared]:
            shared += 1
        end = before[-1:]
        where = [
            ("shared", len(before)), ("shared", len(before), operator),
            ("shared", len(before), end), ("shared", len(before), before[-2:], operator),
        ]  # fmt: skip
        shared = s.number(shared, len(before), where)
        more = s.number(
            max(len(path) - shared, 0), MAX_PARTS, [("more", shared, *w[1:]) for w in where]
        )
        found = list(before[:shared])
        for place in range(more):
            part = path[shared + place] if shared + place < len(path) else ""
            old = before[shared] if not place and shared < len(before) else None
            found.append(self._part(part, found, old, before, operator))
        return tuple(found)

    def _part(
        self, part: str, above: list[str], old: str | None, before: tuple[str, ...], operator: str
    ) -> str:
        s, end = self._symbols, before[-1:]
        if old is not None:
            word, number = _split(old)
            following = f"{word}{number + 1}" if number is not None else None
            contexts = ["next", ("next", word), ("next", word, end, operator)]
            if following and s.flag(part == following, contexts):
                return following
        word, number = _split(part)
        up = _split(above[-1])[0] if above else ""
        contexts = [
            "part",
            ("part", len(above), up),
            ("part", up, end),
            ("part", up, before[-2:], operator),
        ]
        word = s.word(word, MAX_NAME, contexts)
        contexts = ["digits", ("digits", word), ("digits", word, up, end)]
        number = s.number(0 if number is None else number + 1, MAX_NUMBER, contexts)
        return f"{word}{number - 1}" if number else word


def _split(part: str) -> tuple[str, int | None]:
    """A part of a path as a word and the number at its end, if there is one."""
    word, digits = _PART.fullmatch(part).groups()
    return word, None if digits is None else int(digits)


def check_names(names: list[str]) -> None:
    """Raise ValueError unless a module can have these state_dict names and be of any class."""
    paths: set[str] = set()
    for name in names:
        parts = name.split(".")
        if len(name.encode()) > MAX_NAME or len(parts) > MAX_PARTS + 1:
            raise ValueError(f"the name {name[:40]!r}... is too long")
        for part in parts:
            if not part or part in MODULE or part.startswith("__") or "\0" in part:
                raise ValueError(f"a parameter cannot have the name {name!r}")
        paths.update(".".join(parts[:count]) for count in range(1, len(parts)))
    if len(set(names)) < len(names) or paths & set(names):
        raise ValueError("two parameters have one name, or one has the name of a module")
