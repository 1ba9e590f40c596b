"""How each weight's entries lie as a matrix, and which earlier weights lend it their counts.

The coder and its static model (`models.densities`) predict a weight's nonzero entries by rows,
columns, channels and neighbours, and by how many nonzero weights the unit behind a column has. What
is a channel, a neighbour and a unit is found here, from the graph and the parameters' shapes alone,
so that a reader of a file finds the same before it knows any number. This is part of the file
format: a change here makes files unreadable.

**The matrix.** Axis 0 is the rows (output units), all other axes are the columns, row-major. Where
axis 1 holds the output units, axes 0 and 1 are swapped first: transposed convolutions, embeddings,
right operands of `matmul` and `addmm`. The columns are channels x lines x width: `width` neighbours
in a line, and lines below each other. The first operator of the graph that takes a parameter as its
weight decides:

- A convolution: its input channels (those of one group) x kernel; `width` is the last kernel axis.
- A dense layer, if its inputs are known units: a channel for each, and taps where feature maps were
  flattened, in a square if there are square-many, else in one line.
- A dense layer that reads the network's input. If that was flattened from (batch, channels, ...):
  these channels, and lines of the last axis. If it came as (batch, features): 3 channels where
  the features are 3 times a square number, else 1, and taps in a square or one line as above.
- Anything else: rank 2 has a channel for each column and no neighbours, higher ranks are as
  convolutions, vectors are one row without neighbours.

**Lenders.** Channel c of a weight is lent the rows of all weights that stand before it in the order
of the graph's parameter nodes and write into the value at channel c. Values are followed forward:

- Dense layers, convolutions, `matmul`, `addmm` and embeddings write a row of their matrix into each
  channel; an LSTM, GRU or RNN the rows of all gates of a unit, of both its matrices.
- Elementwise operators, norms, windows, softmax and cumsum keep what their operands hold. Where
  several hold units along the same axis, as at the end of a residual block, each channel has the
  rows of all. Operands without known units, or with a single channel beside others with more, are
  passed over; where the others do not fit each other nothing is known.
- Depthwise convolutions of one output for each input keep what the input holds and add their row.
- Concatenation, split, slice, zero padding, permutation of axes, reductions over other axes, and
  flattening of all axes from the channels on are followed; other movements are not.

A weight is lent nothing if one of its channels has no row, or its convolution has several groups.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import isqrt, prod

from .channels import FAMILIES, MOVES, Row, Rows, Shape, Value, Walk
from .ir import Graph, Node, Ref
from .operators import Family
from .table import OPERATORS


@dataclass(frozen=True)
class Layout:
    """How one weight's entries lie; see the module's docstring.

    :param swapped: whether axes 0 and 1 are swapped before the tensor is a matrix.
    :param channels: into how many groups the columns fall, in order.
    :param lines: lines of the rectangle of taps in each channel, and `width` of each line; the
        columns are channels x lines x width. 1 x 1 where there are no neighbours.
    :param lenders: for each channel the rows that lend to it; () if nothing is lent.
    :param kept: name of the mask parameter that says which of all columns there are; None for all.
    """

    swapped: bool
    channels: int
    lines: int = 1
    width: int = 1
    lenders: Rows = ()
    kept: str | None = None


def layouts(graph: Graph, shapes: Mapping[str, Shape]) -> dict[str, Layout]:
    """The layout of each parameter, in the order of the graph's parameter nodes.

    :param shapes: of all parameters, by name.
    """
    walk = _Walk(graph, shapes)
    for node in graph.operators:
        family = OPERATORS[node.operator].family
        rule = _RULES.get(node.operator) or MOVES.get(node.operator) or FAMILIES.get(family)
        if rule is not None:
            rule(walk, node)
    names = [node.name for node in graph.parameters]
    return {name: walk.found.get(name) or _other(shapes[name]) for name in names}


class _Walk(Walk):
    """With the layouts found on the way."""

    def __init__(self, graph: Graph, shapes: Mapping[str, Shape]) -> None:
        super().__init__(graph, shapes)
        self.found: dict[str, Layout] = {}
        self._order = {node.name: i for i, node in enumerate(graph.parameters)}

    def lent(self, name: str, value: Value | None) -> Rows:
        """What a weight's channels are lent: rows of earlier weights."""
        if value is None or value.rows is None:
            return ()
        place = self._order[name]
        rows = tuple(
            tuple(row for row in rows if self._order[row[0]] < place) for rows in value.rows
        )
        return rows if all(rows) else ()


def _other(shape: Shape) -> Layout:
    if len(shape) < 2:
        return Layout(False, prod(shape))
    return _kernel(shape) if len(shape) > 2 else Layout(False, shape[1])


def _kernel(shape: Shape, swapped: bool = False) -> Layout:
    """Of a convolution's weight, its axes in the order of the matrix."""
    return Layout(swapped, shape[1], prod(shape[2:-1]), shape[-1])


def _rectangle(taps: int) -> tuple[int, int]:
    side = isqrt(taps)
    return (side, side) if side * side == taps else (1, taps)


def _dense(walk: _Walk, name: str, columns: int, source: Ref, swapped: bool) -> None:
    """The layout of a matrix that reads the last axis of a value."""
    if name in walk.found:
        return
    value = walk.of(source)
    layout = Layout(swapped, columns)
    if value is not None and value.axis == -1:
        kept = value.kept
        full = columns if kept is None else prod(walk.shapes[kept])
        if value.rows is None:
            layout = _image(value, full, swapped) or layout
        elif value.rows and full % len(value.rows) == 0 and (value.flat or full == len(value.rows)):
            taps = full // len(value.rows)
            lenders = walk.lent(name, value)
            layout = Layout(swapped, len(value.rows), *_rectangle(taps), lenders)
        layout = replace(layout, kept=kept)
        if layout.channels * layout.lines * layout.width != full:
            layout = Layout(swapped, columns)
    walk.found[name] = layout


def _image(value: Value, columns: int, swapped: bool) -> Layout | None:
    """Of a matrix that reads the network's input."""
    if len(value.sizes) > 1:
        channels, *sizes = value.sizes
        return Layout(swapped, channels, prod(sizes[:-1]), sizes[-1])
    pixels = columns // 3
    channels = 3 if pixels and columns % 3 == 0 and isqrt(pixels) ** 2 == pixels else 1
    return Layout(swapped, channels, *_rectangle(columns // channels))


def _rows(name: str | None, count: int) -> Rows | None:
    return tuple(((name, i),) for i in range(count)) if name is not None else None


def _linear(walk: _Walk, node: Node) -> None:
    source, name = node.arguments["input"], walk.parameter(node.arguments["weight"])
    _put_dense(walk, node, source, name, swapped=False)


def _put_dense(walk: _Walk, node: Node, source: Ref, name: str | None, swapped: bool) -> None:
    value = None
    if name is not None and len(walk.shapes[name]) == 2:
        outputs, columns = walk.shapes[name][:: -1 if swapped else 1]
        _dense(walk, name, columns, source, swapped)
        if walk.found[name].swapped == swapped:
            value = Value(-1, _rows(name, outputs))
    walk.put(node, value, walk.rank(source))


def _matmul(walk: _Walk, node: Node) -> None:
    names = ("mat1", "mat2") if node.operator == "addmm" else ("input", "other")
    source, weight = (node.arguments[name] for name in names)
    _put_dense(walk, node, source, walk.parameter(weight), swapped=True)


def _convolution(walk: _Walk, node: Node) -> None:
    source, name = node.arguments["input"], walk.parameter(node.arguments["weight"])
    axes, up = int(node.operator[-2]), node.operator.startswith("conv_transpose")
    groups, value, result = node.arguments["groups"], walk.of(source), None
    if name is not None:
        shape = walk.shapes[name]
        swapped = up and groups == 1
        shape = (shape[1], shape[0], *shape[2:]) if swapped else shape
        reads = value is not None and value.axis == -axes - 1 and value.rows is not None
        if name not in walk.found:
            fits = reads and groups == 1 and len(value.rows) == shape[1]
            lenders = walk.lent(name, value) if fits else ()
            walk.found[name] = replace(_kernel(shape, swapped), lenders=lenders)
        if walk.found[name].swapped == swapped and (groups == 1 or not up or shape[1] == 1):
            rows = _rows(name, shape[0])
            if groups == shape[0] and reads and len(value.rows) == groups:
                rows = tuple(a + b for a, b in zip(value.rows, rows, strict=True))
            result = Value(-axes - 1, rows)
    walk.put(node, result, axes + 2)


def _embedding(walk: _Walk, node: Node) -> None:
    name, rank = walk.parameter(node.arguments["weight"]), walk.rank(node.arguments["indices"])
    value = None
    if name is not None:
        tokens, width = walk.shapes[name]
        layout = walk.found.setdefault(name, Layout(True, tokens))
        value = Value(-1, _rows(name, width)) if layout.swapped else None
    walk.put(node, value, None if rank is None else rank + 1)


def _recurrent(walk: _Walk, node: Node) -> None:
    """Each layer's input matrix reads the layer below, its other one its own units."""
    params = [walk.parameter(ref) for ref in node.arguments["params"]]
    each = 4 if node.arguments["has_biases"] else 2
    directions = 1 + node.arguments["bidirectional"]
    below, rank = walk.of(node.arguments["input"]), walk.rank(node.arguments["input"])
    layers = node.arguments["num_layers"]
    if None in params or len(params) != each * directions * layers:
        walk.put(node, None, rank)
        return
    for layer in range(layers):
        units: list[tuple[Row, ...]] = []
        for direction in range(directions):
            at = each * (directions * layer + direction)
            units += _cell(walk, params[at], params[at + 1], below)
        below = Value(-1, tuple(units))
    walk.put(node, below, rank)


def _cell(walk: _Walk, inputs: str, loops: str, below: Value | None) -> list[tuple[Row, ...]]:
    """Layouts of a recurrent layer's two matrices; the rows that write into each of its units."""
    gates, size = walk.shapes[loops]

    def rows(names: tuple[str, ...]) -> list[tuple[Row, ...]]:
        return [
            tuple((n, row) for n in names for row in range(j, gates, size)) for j in range(size)
        ]

    fits = below is not None and below.axis == -1 and not below.flat and below.rows is not None
    fits = fits and len(below.rows) == walk.shapes[inputs][1]
    lent = walk.lent(inputs, below) if fits else ()
    walk.found.setdefault(inputs, Layout(False, walk.shapes[inputs][1], lenders=lent))
    lent = walk.lent(loops, Value(-1, tuple(rows((inputs,)))))
    walk.found.setdefault(loops, Layout(False, size, lenders=lent))
    return rows((inputs, loops))


_RULES: dict[str, Callable[[_Walk, Node], None]] = {
    "linear": _linear,
    "matmul": _matmul,
    "addmm": _matmul,
    **{f"conv{n}d": _convolution for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": _convolution for n in (1, 2, 3)},
    "embedding": _embedding,
    **dict.fromkeys(
        (n for n, row in OPERATORS.items() if row.family is Family.RECURRENT), _recurrent
    ),
}
