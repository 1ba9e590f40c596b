"""A traced network in a file: `GraphArchitecture`, version 4 of the format.

As bytes it is one arithmetic-coded stream: the graph (`graph_section`), the names of its parameters
(`graph_names`), the lenders (`graph_lenders`), further names of tied parameters, and the label. The
stream's statistics begin with those of a few common networks (`graph_primed`). Torch is imported
only where a network is built.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from .archive import Quantised
from .errors import CorruptFile
from .graph_lenders import borrows, code_lenders
from .graph_limits import MAX_NAME, MAX_NODES
from .graph_names import Names, check_names
from .graph_parts import Described, Entry
from .graph_primed import after_primer
from .graph_section import GraphCoder
from .graph_symbols import Symbols
from .nodes import TensorSpec
from .range_coder import Stream

if TYPE_CHECKING:
    from ..graph import GraphNetwork

VERSION = 4  # of the file format


class GraphArchitecture:
    """A traced network without its numbers; has the methods of `architecture.Architecture`.

    :param described: what its file says.
    :param data: the bytes of it, if they are known.
    """

    root = None

    def __init__(self, described: Described, data: bytes | None = None) -> None:
        self.described = described
        self._data = data

    @property
    def label(self) -> str | None:
        """A short name of the network."""
        return self.described.label

    @property
    def ties(self) -> tuple[tuple[str, str], ...]:
        """Pairs (name, other name) of entries that are one and the same tensor."""
        return tuple(self.described.graph.aliases.items())

    def tensors(self) -> list[TensorSpec]:
        """The tensors that a file holds, in the order of the graph; tied ones once."""
        return [TensorSpec(e.node.name, e.shape, e.role, e.dtype) for e in self.described.entries]

    def swapped(self) -> frozenset[str]:
        """The tensors whose axis 1 the coder takes for the output units."""
        return frozenset(e.node.name for e in self.described.entries if e.is_swapped)

    def lenders(self) -> dict[str, tuple[int, ...] | None]:
        """Of each weight and mask the weights whose units are its columns; see `coded.Coded`."""
        names = [e.node.name for e in filter(borrows, self.described.entries)]
        return dict(zip(names, self.described.lenders, strict=True))

    def build(self) -> GraphNetwork:
        """A new network on the CPU, in eval mode, all tensors zero."""
        import torch
        from torch import nn

        from ..graph import GraphNetwork

        tensors: dict[str, torch.Tensor] = {}
        for entry in self.described.entries:
            zeros = torch.zeros(entry.shape, dtype=getattr(torch, entry.dtype))
            tensors[entry.node.name] = nn.Parameter(zeros) if entry.trains else zeros
        return GraphNetwork(self.described.graph.copy(), tensors)

    def check(self, tensors: Mapping[str, Quantised | np.ndarray]) -> None:
        """Raise CorruptFile unless masks keep as many entries as the graph says."""
        for node, count in self.described.picked.items():
            name = node.arguments["kept"].node.name
            if int(np.count_nonzero(tensors[name])) != count:
                raise CorruptFile(f"{name!r} in the file does not keep {count} entries")

    def version(self) -> int:
        """The version of the file format."""
        return VERSION

    def to_bytes(self, version: int | None = None) -> bytes:
        """As the module's docstring says.

        :raises ValueError: for any other version, or the network is beyond the limits of a file.
        """
        if version not in (None, VERSION):
            raise ValueError(f"a traced network is in files of version {VERSION} only")
        if self._data is None:
            self._data, _ = write(self.described)
        return self._data

    @staticmethod
    def from_bytes(data: bytes, version: int | None = VERSION) -> GraphArchitecture:
        """The inverse of `to_bytes`, for untrusted bytes.

        :raises CorruptFile: it is no network within the limits.
        """
        data = bytes(data)
        try:
            return GraphArchitecture(read(data), data)
        except CorruptFile:
            raise
        except Exception as error:  # whatever a forged graph leads to
            raise CorruptFile(f"the graph in the file makes no sense: {error}") from None


def write(
    described: Described, primed: bool = True, spent: Callable[[str, float], None] | None = None
) -> tuple[bytes, Described]:
    """The bytes of a network's description, and what a reader will make of them.

    :param spent: is told the bits of each part: graph, names, lenders, label.
    """
    stream = Stream()
    symbols = Symbols(stream, after_primer() if primed else None)
    found = code(symbols, described, spent and _meter(stream, spent))
    data = stream.finish()
    symbols.check_size(len(data))
    return data, found


def read(data: bytes, primed: bool = True) -> Described:
    """The description in bytes."""
    stream = Stream(data)
    with _without_collection():
        found = code(Symbols(stream, after_primer() if primed else None, len(data)), None)
    stream.check_end()
    return found


@contextmanager
def _without_collection() -> Iterator[None]:
    """Hold off the cyclic garbage collector, which would walk through all of torch's objects.

    That is a fourth of the time that a small file takes, and nothing here leaves garbage behind.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _meter(stream: Stream, spent: Callable[[str, float], None]) -> Callable[[str], None]:
    before = 0.0

    def charge(part: str) -> None:
        nonlocal before
        spent(part, stream.bits() - before)
        before = stream.bits()

    return charge


def code(
    symbols: Symbols, source: Described | None, charge: Callable[[str], None] | None = None
) -> Described:
    """Write a description, or read one if `source` is None; returns the one that was coded."""
    charge = charge or (lambda part: None)
    found = GraphCoder(symbols, source).run()
    charge("graph")
    _code_names(symbols, source, found)
    charge("names")
    found.lenders = list(source.lenders) if source else []
    found.lenders = code_lenders(symbols, found)
    charge("lenders")
    label = source.label if source else None
    if symbols.flag(label is not None, ["label"]):
        found.label = symbols.word(label or "", MAX_NAME, ["label"])
    charge("label")
    return found


def _code_names(symbols: Symbols, source: Described | None, found: Described) -> None:
    names, given = Names(symbols), source.entries if source else []
    for place, entry in enumerate(found.entries):
        entry.node.name = names.code(given[place].node.name if given else "", entry)
        if entry.reader is not None and not entry.reader.scope:
            entry.reader.scope = entry.node.name.rpartition(".")[0]
    own = [entry.node.name for entry in found.entries]
    aliases = list(source.graph.aliases.items()) if source else []
    count = symbols.number(len(aliases), MAX_NODES, ["aliases"])
    for place in range(count):
        alias, name = aliases[place] if aliases else ("", "")
        at = symbols.number(own.index(name) if name else 0, max(len(own) - 1, 0), ["alias of"])
        entry = found.entries[at]
        alias = names.code(
            alias, Entry(entry.shape, entry.dtype, entry.role, entry.trains, entry.node)
        )
        if alias in found.graph.aliases:
            raise ValueError(f"{alias!r} is said twice to be the same as another")
        found.graph.aliases[alias] = own[at]
    check_names([*own, *found.graph.aliases])
