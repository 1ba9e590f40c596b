"""Which hidden units of a recurrent layer stay at zero, and which are read.

All layers and directions of one operator have the same hidden units (see `axes`), so a unit of one
layer is of use only if the same unit of all others can go too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .ir import Node, Ref

if TYPE_CHECKING:
    from .facts import Facts

# Of the gates' rows, the block that makes a new state: a unit is zero for ever if that is.
_CANDIDATE = {"lstm": 2, "gru": 2, "rnn_tanh": 0, "rnn_relu": 0}
GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


@dataclass(frozen=True)
class Cell:
    """One direction of one layer.

    :param inputs: which input weights are not zero, bool, shape (gates, hidden, inputs).
    :param loops: the same of hidden-to-hidden weights, shape (gates, hidden, hidden).
    :param biases: both, float64, shape (2, gates, hidden).
    """

    inputs: Tensor
    loops: Tensor
    biases: Tensor


def cells_of(facts: Facts, node: Node) -> list[list[Cell]] | None:
    """The cells of each layer, by direction; None for layers with projections."""
    params, directions = node.arguments["params"], 1 + node.arguments["bidirectional"]
    each = 4 if node.arguments["has_biases"] else 2
    if len(params) != each * directions * node.arguments["num_layers"]:
        return None
    gates = GATES[node.operator]
    cells = []
    for place in range(0, len(params), each):
        tensors = [facts.weight(ref) for ref in params[place : place + each]]
        inputs, loops = (t.ne(0).unflatten(0, (gates, -1)) for t in tensors[:2])
        biases = torch.zeros(2, gates, inputs.shape[1], dtype=torch.float64)
        if each == 4:
            biases = torch.stack([t.double().unflatten(0, (gates, -1)) for t in tensors[2:]])
        cells.append(Cell(inputs, loops, biases))
    return [cells[i : i + directions] for i in range(0, len(cells), directions)]


def silent_units(facts: Facts, node: Node) -> list[Tensor]:
    """Which positions of each result are zero whatever the inputs, bool as in `Fact.known`."""
    layers = cells_of(facts, node)
    if layers is None:
        return []
    source = node.arguments["input"]
    fact, width = facts.fact(source), facts.shape(source)[-1]
    silent = torch.zeros(width, dtype=torch.bool)
    if fact is not None:
        known, value = fact.along(-1, width)
        silent = known & value.eq(0)
    start = _starts_at_zero(facts, node)
    states = []
    for cells in layers:
        found = [_silent(cell, silent, start, node.operator) for cell in cells]
        states.extend(found)
        silent = torch.cat(found)
    last = torch.stack(states)[:, None]
    return [silent[None, None], *[last] * (facts.evaluation.results(node) - 1)]


def _starts_at_zero(facts: Facts, node: Node) -> bool:
    states = node.arguments["hx"]
    for ref in states if isinstance(states, tuple) else (states,):
        fact = facts.fact(ref)
        if fact is None or not bool((fact.known & fact.value.eq(0)).all()):
            return False
    return True


def _silent(cell: Cell, inputs: Tensor, start: bool, kind: str) -> Tensor:
    """The units of a cell that stay at zero: the largest set that gives itself nothing else."""
    gate = _CANDIDATE[kind]
    first, second = cell.biases[:, gate]
    if kind == "gru":  # the second bias is multiplied by a gate
        quiet = first.eq(0) & second.eq(0)
    else:
        total = first + second
        quiet = total.le(0) if kind == "rnn_relu" else total.eq(0)
    quiet &= ~(cell.inputs[gate] & ~inputs).any(1)
    silent = quiet & start
    while True:
        now = silent & ~(cell.loops[gate] & ~silent).any(1)
        if bool((now == silent).all()):
            return silent
        silent = now


def read_inputs(facts: Facts, node: Node) -> Iterator[tuple[Ref, Tensor]]:
    """The values that a recurrent layer takes or gives, and which of their positions are read."""
    layers = cells_of(facts, node)
    everything = torch.ones(1, dtype=torch.bool)
    if layers is None:
        for ref in node.refs():
            yield ref, everything.reshape([1] * len(facts.shape(ref)))
        return
    read = facts.read_along(Ref(node), -1)
    size = layers[0][0].loops.shape[1]
    later = torch.zeros(size, dtype=torch.bool)
    for index in range(1, facts.evaluation.results(node)):
        later |= facts.read_along(Ref(node, index), -1)
    hidden = torch.zeros(size, dtype=torch.bool)
    for cells in reversed(layers):
        parts = read.reshape(len(cells), size)
        read = torch.zeros(cells[0].inputs.shape[2], dtype=torch.bool)
        for cell, part in zip(cells, parts, strict=True):
            units = _read_units(cell, part | later)
            hidden |= units
            read |= cell.inputs[:, units].any(1).any(0)
    # A unit that is read by others at the next time step is read, whoever reads the results.
    yield Ref(node), hidden.repeat(len(layers[0])).reshape(1, 1, -1)
    source = node.arguments["input"]
    yield source, read.reshape([1] * (len(facts.shape(source)) - 1) + [-1])
    states = node.arguments["hx"]
    for ref in states if isinstance(states, tuple) else (states,):
        yield ref, hidden.reshape(1, 1, -1)
    for ref in node.arguments["params"]:
        yield ref, everything.reshape([1] * len(facts.shape(ref)))


def _read_units(cell: Cell, read: Tensor) -> Tensor:
    """The hidden units that are read, at any time: those, and what they read of the time before."""
    while True:
        more = read | cell.loops[:, read].any(1).any(0)
        if bool((more == read).all()):
            return read
        read = more
