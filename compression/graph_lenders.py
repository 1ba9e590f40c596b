"""Which weights lend each other what the range coder knows of their units.

A column of a matrix is the output unit of an earlier layer. A unit that has few weights there is
likely to have few weights here. The file says for each weight tensor whose units its columns are;
mostly it is the tensor before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph.ir import Node, Ref, refs_in
from ..graph.operators import Family
from ..graph.table import OPERATORS
from .archive import Quantised
from .coded import Coded
from .context import Model
from .errors import CorruptFile
from .graph_parts import Described, Entry
from .graph_symbols import Symbols

MAX_LENDERS = 64
_BEFORE, _NOBODY, _LISTED = range(3)
Lenders = tuple[int, ...] | None


def borrows(entry: Entry) -> bool:
    return entry.role in ("weight", "mask")


def code_lenders(symbols: Symbols, described: Described) -> list[Lenders]:
    """Code `Described.lenders`.

    :param described: its entries are known already; its lenders if it is being written.
    """
    given = iter(described.lenders)
    found: list[Lenders] = []
    weights, more = 0, 0
    for entry in filter(borrows, described.entries):
        lenders = next(given, None)
        operator = entry.reader.operator if entry.reader else ""
        contexts = ["lenders", ("lenders", operator, more), ("lenders", operator, weights == 0)]
        kind = _BEFORE if lenders is None else _LISTED if lenders else _NOBODY
        kind = symbols.choice(kind, 3, contexts)
        if kind == _BEFORE:
            found.append(None)
        elif kind == _NOBODY:
            found.append(())
        else:
            found.append(_listed(symbols, lenders or (), weights, operator))
        more = kind
        weights += entry.role == "weight"
    return found


def _listed(
    symbols: Symbols, given: tuple[int, ...], weights: int, operator: str
) -> tuple[int, ...]:
    if not weights:
        raise ValueError("there is no weight to lend")
    count = symbols.number(len(given) - 1, MAX_LENDERS - 1, ["lenders", ("lenders", operator)]) + 1
    found: list[int] = []
    for place in range(count):
        back = weights - 1 - given[place] if given else 0
        contexts = ["lender", ("lender", operator), ("lender", operator, place)]
        found.append(weights - 1 - symbols.number(back, weights - 1, contexts))
    return tuple(found)


def choose_lenders(described: Described) -> list[Lenders]:
    """For each weight and mask those that produce its input channels, as the graph says."""
    place = {e.node: i for i, e in enumerate(e for e in described.entries if e.role == "weight")}
    found: list[Lenders] = []
    producers: dict[Ref, tuple[int, ...]] = {}
    sizes = [_units(e) for e in described.entries if e.role == "weight"]
    for node in described.graph.operators:
        for index in range(max(OPERATORS[node.operator].results, 1)):
            producers[Ref(node, index)] = _produced(node, place, producers)
    seen = 0
    for entry in filter(borrows, described.entries):
        lenders = _source(entry, producers)
        lenders = tuple(n for n in lenders if n < seen)[:MAX_LENDERS]
        units = sum(sizes[n] for n in lenders)
        if len(lenders) > 1 and units not in entry.shape[:2]:
            lenders = lenders[-1:]
        before = (seen - 1,) if seen else ()
        found.append(None if lenders == before else lenders)
        seen += entry.role == "weight"
    return found


def _units(entry: Entry) -> int:
    return entry.shape[1] if entry.is_swapped else entry.shape[0]


def _source(entry: Entry, producers: dict[Ref, tuple[int, ...]]) -> tuple[int, ...]:
    """Who produces the input channels of the operator that reads a parameter."""
    if entry.reader is None or entry.reader.operator == "embedding":
        return ()
    for name, value in entry.reader.arguments.items():
        if name in ("input", "input1", "tensors", "query"):
            for ref in refs_in(value):
                if ref.node is not entry.node:
                    return producers.get(ref, ())
    return ()


def _produced(
    node: Node, place: dict[Node, int], producers: dict[Ref, tuple[int, ...]]
) -> tuple[int, ...]:
    """The weights whose output units are the channels of what a node gives."""
    row = OPERATORS[node.operator]
    own = [r for name in row.weights for r in refs_in(node.arguments[name]) if r.node in place]
    if own and row.family is not Family.RECURRENT:
        return (place[own[0].node],)
    if own:
        return (place[own[-1].node],)
    parts = [producers.get(ref, ()) for ref in node.refs() if ref.node.operator != "parameter"]
    if node.operator == "cat":
        return tuple(n for part in parts for n in part)
    if row.family is Family.ATTENTION:
        return parts[2] if len(parts) > 2 else ()
    if node.operator == "matmul":
        return parts[-1] if parts else ()
    return max(parts, key=lambda part: part[-1:], default=())  # of a skip connection the nearest


class LendingModel(Model):
    """The range coder's model, with columns that belong to the units of any earlier tensors.

    :param tensors: those to be coded, in their order, and maybe others of the roles raw and bias.
    :param arguments: those of `Model`.
    """

    def __init__(self, tensors: Sequence[Coded], *arguments: Any) -> None:
        super().__init__(*arguments)
        self._coming = iter([t for t in tensors if t.spec.role in ("weight", "mask")])
        self._lent: list[np.ndarray] = []  # weights of each output unit, of each weight tensor

    def mask(self, count: int, mask: np.ndarray | None = None) -> np.ndarray:
        self._borrow()
        return super().mask(count, mask)

    def tensor(
        self, shape: tuple[int, ...], role: str, tensor: Quantised | None = None
    ) -> Quantised:
        if role != "weight":
            return super().tensor(shape, role, tensor)
        coming = self._borrow()
        coded = (
            self._swapped(shape, tensor) if coming.swapped else super().tensor(shape, role, tensor)
        )
        self._lent.append(self._units)
        return coded

    def _swapped(self, shape: tuple[int, ...], tensor: Quantised | None) -> Quantised:
        """A weight whose output units are its axis 1; a grid's units are still its axis 0."""
        grid, bounds = self._grids.code(shape[0], tensor)
        self._charge("codebooks")
        codes = None if tensor is None else np.ascontiguousarray(tensor.codes.swapaxes(0, 1))
        turned = (shape[1], shape[0], *shape[2:])
        codes = self._codes(turned, shape[1], "weight", bounds, codes)
        try:
            return Quantised(codes.reshape(turned).swapaxes(0, 1), grid)
        except ValueError as error:
            raise CorruptFile(f"a tensor in the file makes no sense: {error}") from None

    def _borrow(self) -> Coded:
        """Take the units of the lenders of the tensor that comes next."""
        coming = next(self._coming)
        if coming.lenders is not None:
            units = [self._lent[n] for n in coming.lenders]
            self._units = np.concatenate(units) if units else np.zeros(0, np.int32)
        return coming
