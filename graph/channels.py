"""Channels followed through a graph: which rows of which weights write into each of them.

The rules that `lenders` states, for all operators without weights. Only shapes of parameters and of
the network's inputs are looked at, so that the walk needs no numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .ir import INPUT, PARAMETER, Graph, Node, Ref
from .operators import MAX_INT, Family

Row = tuple[str, int]  # a weight's name, and the number of a row of its matrix
Rows = tuple[tuple[Row, ...], ...]  # for each channel
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Value:
    """What is known of a value's channels.

    :param axis: which axis they are, counted from the end (-1 is the last).
    :param rows: for each channel what writes into it; None for the network's inputs.
    :param flat: whether the axis holds several places of each channel, one channel after the other.
    :param sizes: of the axes behind the batch, of an input that was only flattened or mapped.
    :param kept: see `lenders.Layout`.
    """

    axis: int
    rows: Rows | None
    flat: bool = False
    sizes: Shape = ()
    kept: str | None = None


class Walk:
    """One pass over a graph: what every value's channels are.

    :param shapes: of all parameters, by name.
    """

    def __init__(self, graph: Graph, shapes: Mapping[str, Shape]) -> None:
        self.shapes = shapes
        self.values: dict[Ref, Value | None] = {}
        self.ranks: dict[Ref, int | None] = {}
        for node in graph.nodes:
            if node.operator == INPUT:
                shape = graph.inputs[int(node.name)].shape
                self.ranks[Ref(node)] = len(shape)
                sizes = tuple(size for size in shape[1:] if size is not None)
                if sizes and len(sizes) == len(shape) - 1:
                    self.values[Ref(node)] = Value(-len(sizes), None, False, sizes)
            elif node.operator == PARAMETER:
                self.ranks[Ref(node)] = len(shapes[node.name])

    def of(self, ref: Any) -> Value | None:
        return self.values.get(ref) if isinstance(ref, Ref) else None

    def put(self, node: Node, value: Value | None, rank: int | None, index: int = 0) -> None:
        self.values[Ref(node, index)], self.ranks[Ref(node, index)] = value, rank

    def rank(self, ref: Any) -> int | None:
        """The number of axes; None if it is not known."""
        return self.ranks.get(ref) if isinstance(ref, Ref) else 0

    def parameter(self, ref: Any) -> str | None:
        """The name of a parameter that an operator takes as it is."""
        return ref.node.name if isinstance(ref, Ref) and ref.node.operator == PARAMETER else None


Rule = Callable[[Walk, Node], None]


def _joined(values: list[Value | None]) -> Value | None:
    """What holds the channels of several values at once; None where they do not fit."""
    known = [value for value in values if value is not None]
    known = [value for value in known if value.rows is not None] or known
    most = max((len(value.rows or ()) for value in known), default=0)
    known = [value for value in known if len(value.rows or ()) == most or len(value.rows) > 1]
    if not known:
        return None
    first = known[0]
    if first.rows is None:
        return first
    for other in known[1:]:
        same = (other.axis, other.flat, other.kept) == (first.axis, first.flat, first.kept)
        if not same or len(other.rows) != len(first.rows):
            return None
        rows = zip(first.rows, other.rows, strict=True)
        first = replace(first, rows=tuple(a + tuple(r for r in b if r not in a) for a, b in rows))
    return first


def _elementwise(walk: Walk, node: Node) -> None:
    ranks = [walk.rank(ref) for ref in node.refs()]
    joined = _joined([walk.of(ref) for ref in node.refs()])
    walk.put(node, joined, None if None in ranks else max(ranks))


def _kept(walk: Walk, node: Node) -> None:
    source = node.arguments["input"]
    walk.put(node, walk.of(source), walk.rank(source))


def _window(walk: Walk, node: Node) -> None:
    source = node.arguments["input"]
    value = walk.of(source)
    if value is not None and value.rows is None:
        value = replace(value, sizes=())
    walk.put(node, None if value is None or value.axis == -1 else value, walk.rank(source))


def _moved(walk: Walk, node: Node, rank: int | None, place: int | None, **change: Any) -> None:
    """The channels at another axis, `place`, of a result of so many axes; None: lost."""
    value = walk.of(node.arguments["input"])
    if value is None or place is None or rank is None:
        walk.put(node, None, rank)
    else:
        walk.put(node, replace(value, axis=place - rank, **change), rank)


def _at(walk: Walk, ref: Ref) -> tuple[int | None, int | None]:
    """The rank of a value, and which axis its channels are, from the front."""
    value, rank = walk.of(ref), walk.rank(ref)
    return rank, None if value is None or rank is None else rank + value.axis


def _flatten(walk: Walk, node: Node) -> None:
    rank, at = _at(walk, node.arguments["input"])
    if rank is None:
        return walk.put(node, None, None)
    first, last = (node.arguments[name] % rank for name in ("start_dim", "end_dim"))
    _merge(walk, node, rank, at, first, last)


def _merge(walk: Walk, node: Node, rank: int, at: int | None, first: int, last: int) -> None:
    """Axes from `first` to `last` become one; channels stay known if they are the first of them."""
    value, merged = walk.of(node.arguments["input"]), last - first
    inputs = value is not None and value.rows is None
    if at is None or first < at <= last or (inputs and (first, last) != (1, rank - 1)):
        _moved(walk, node, rank - merged, None)
    elif at > last:
        _moved(walk, node, rank - merged, at - merged)
    else:
        flat = value.flat or (at == first and merged > 0)
        _moved(walk, node, rank - merged, at, flat=flat)


def _reshape(walk: Walk, node: Node) -> None:
    """As a flattening to (batch, rest); or of the axes in front of channels that stay last."""
    shape, value = node.arguments["shape"], walk.of(node.arguments["input"])
    rank, at = _at(walk, node.arguments["input"])
    if at == 1 and len(shape) == 2:
        _merge(walk, node, rank, at, 1, rank - 1)
        return
    stays = value is not None and value.axis == -1 and value.rows is not None and not value.flat
    stays = stays and shape[-1] == len(value.rows)
    _moved(walk, node, len(shape), len(shape) - 1 if stays else None)


def _permute(walk: Walk, node: Node) -> None:
    rank, at = _at(walk, node.arguments["input"])
    value = walk.of(node.arguments["input"])
    if at is None or value.rows is None:
        _moved(walk, node, rank, None)
        return
    if node.operator == "permute":
        order = [d % rank for d in node.arguments["dims"]]
    else:
        order, (a, b) = list(range(rank)), (node.arguments[d] % rank for d in ("dim0", "dim1"))
        order[a], order[b] = order[b], order[a]
    _moved(walk, node, rank, order.index(at))


def _fewer(walk: Walk, node: Node, dims: tuple[int, ...] | None, keep: bool) -> None:
    """Without some axes, or with size 1 in them."""
    rank, at = _at(walk, node.arguments["input"])
    value = walk.of(node.arguments["input"])
    if rank is None:
        walk.put(node, None, None)
        return
    gone = {d % rank for d in (range(rank) if dims is None else dims)}
    left = rank if keep else rank - len(gone)
    if at is None or at in gone or value.rows is None:
        _moved(walk, node, left, None)
    else:
        _moved(walk, node, left, at if keep else at - sum(d < at for d in gone))


def _reduce(walk: Walk, node: Node) -> None:
    """Reductions, squeeze and select."""
    dims = node.arguments["dim"]
    dims = (dims,) if isinstance(dims, int) else dims
    _fewer(walk, node, dims, node.arguments.get("keepdim", False))


def _unsqueeze(walk: Walk, node: Node) -> None:
    rank, at = _at(walk, node.arguments["input"])
    if at is None or walk.of(node.arguments["input"]).rows is None:
        _moved(walk, node, None if rank is None else rank + 1, None)
    else:
        _moved(walk, node, rank + 1, at + (node.arguments["dim"] % (rank + 1) <= at))


def _cat(walk: Walk, node: Node) -> None:
    refs = node.arguments["tensors"]
    values, ranks = [walk.of(ref) for ref in refs], [walk.rank(ref) for ref in refs]
    rank = None if None in ranks else max(ranks)
    axis = None if rank is None else node.arguments["dim"] % rank - rank
    known = [value for value in values if value is not None and value.rows is not None]
    if axis is None or not known:
        walk.put(node, None, rank)
    elif known[0].axis != axis:
        walk.put(node, _joined(known), rank)
    elif len(known) < len(values) or any(v.axis != axis or v.flat or v.kept for v in known):
        walk.put(node, None, rank)
    else:
        rows = tuple(row for value in known for row in value.rows)
        walk.put(node, Value(axis, rows), rank)


def _parts(walk: Walk, node: Node, dim: int, parts: list[slice]) -> None:
    """Results that are parts of an axis."""
    rank, at = _at(walk, node.arguments["input"])
    value = walk.of(node.arguments["input"])
    for index, part in enumerate(parts):
        found = value
        if at is None or value.rows is None or (at == dim % rank and (value.flat or value.kept)):
            found = None
        elif at == dim % rank:
            found = replace(value, rows=value.rows[part])
        walk.put(node, found, rank, index)


def _split(walk: Walk, node: Node) -> None:
    ends = [sum(node.arguments["sizes"][: i + 1]) for i in range(len(node.arguments["sizes"]))]
    parts = [slice(end - n, end) for end, n in zip(ends, node.arguments["sizes"], strict=True)]
    _parts(walk, node, node.arguments["dim"], parts)


def _slice(walk: Walk, node: Node) -> None:
    start, end, step = (node.arguments[name] for name in ("start", "end", "step"))
    if isinstance(start, Ref) or isinstance(end, Ref):
        start, end = 0, -MAX_INT  # a size of the batch, say: no channels are known
    _parts(walk, node, node.arguments["dim"], [slice(start, end, step)])


def _pad(walk: Walk, node: Node) -> None:
    source, pads = node.arguments["input"], node.arguments["pad"]
    value, rank = walk.of(source), walk.rank(source)
    if value is None or value.rows is None:
        walk.put(node, None, rank)
        return
    place = -1 - value.axis
    ends = pads[2 * place : 2 * place + 2]
    if any(ends):
        if min(ends) < 0 or value.flat or value.kept or node.arguments["mode"] != "constant":
            walk.put(node, None, rank)
            return
        value = replace(value, rows=((),) * ends[0] + value.rows + ((),) * ends[1])
    walk.put(node, value, rank)


def _pick(walk: Walk, node: Node) -> None:
    source, kept = node.arguments["input"], walk.parameter(node.arguments["kept"])
    value, rank = walk.of(source), walk.rank(source)
    if value is None or value.axis != -1 or value.kept is not None or kept is None:
        walk.put(node, None, rank)
    else:
        walk.put(node, replace(value, kept=kept), rank)


FAMILIES: dict[Family, Rule] = {
    Family.ELEMENTWISE: _elementwise,
    Family.WINDOW: _window,
    Family.REDUCE: _reduce,
    Family.ALONG: _kept,
    Family.CHANNEL_NORM: _kept,
    Family.GROUP_NORM: _kept,
}
MOVES: dict[str, Rule] = {
    "prelu": _kept,
    "layer_norm": _kept,
    "rms_norm": _kept,
    "flatten": _flatten,
    "reshape": _reshape,
    "transpose": _permute,
    "permute": _permute,
    "squeeze": _reduce,
    "unsqueeze": _unsqueeze,
    "select": _reduce,
    "cat": _cat,
    "split": _split,
    "slice": _slice,
    "pad": _pad,
    "pick": _pick,
}
