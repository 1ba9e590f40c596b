"""Hidden units sorted: the same function, and a smaller file.

The rows of a layer may stand in any order if everything that has a place for each row follows
(`graph.Orders`). Two things are worth sorting for:

- `by_density`: the range coder learns as it goes and lends each row the statistics of those before
  it, so that rows of like density side by side cost less. Which end is better to begin at differs
  from file to file; the decoder need not know.
- `by_rows`: a reader that sorts rows itself need not be told their order (sorted_rows.py). Each
  set of units is sorted by the rows of one weight tensor, its carrier: the first in the file that
  has one row for each unit. The units of a residual stream are one set, and so count once.

`shortest_order` tries both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from math import log2

import numpy as np
from torch import nn

from ..graph import GraphNetwork, Orders
from ..graph.axes import Axes
from ..graph.evaluate import Evaluation
from .archive import Archive, Quantised
from .file import encode, network
from .graph_architecture import GraphArchitecture
from .quantise import select
from .sorted_rows import MAX_GROUP, MAX_ROWS, group_size, in_order, orders
from .weights import taken

GROUPS = (1, 2, 4, 8)  # numbers to try: the more, the more rows of like density stay together
LEAST_BITS = 16  # of an order: to cut the stream takes about 10


def shortest_order(
    data: bytes, archive: Archive, net: nn.Module, agree: Callable[[nn.Module, nn.Module], bool]
) -> tuple[bytes, Archive]:
    """The file with its units in the order that makes it smallest, and its archive.

    Sorted units, whose order the file does not pay for, are smaller in all but tiny networks.

    :param data: the file as it is, of the archive.
    :param net: the network of the archive; if it has no graph, its units stay.
    :param agree: whether two networks compute the same; another order is refused where not.
    """
    best = data, archive
    if not isinstance(net, GraphNetwork):
        return best
    before = network(archive, deepcopy(net))

    def better(other: Archive) -> bool:
        nonlocal best
        again = encode(other, "small")
        if len(again) >= len(best[0]):
            return False
        agrees = agree(before, network(other, deepcopy(net)))
        best = (again, other) if agrees else best
        return agrees

    by_falling = None
    for other in by_density(archive, net):
        by_falling = by_falling or other
        better(other)
    for other in by_rows(by_falling, net) if by_falling else ():
        if not better(other) and best[1].sorted:
            break
    return best


def by_density(archive: Archive, net: GraphNetwork) -> Iterator[Archive]:
    """The archive with its units by falling, then by rising density.

    The density of a unit is the number of weights that are not 0 in all rows that make it; units
    of the same density stay as they were. Outputs are those of `archive` but for the float rounding
    of sums in another order. Nothing comes of networks whose units are all tied to their places,
    nor of those with quantized ReLUs: what they give has to be what they gave in training, bit for
    bit.

    :param net: the network of the archive.
    """
    if any(node.operator == "quantised_relu" for node in net.graph.operators):
        return
    orders = Orders(Axes(Evaluation(net)))
    for sign in (-1, 1) if orders.sets else ():

        def key(units: np.ndarray, sign: int = sign) -> np.ndarray:
            return sign * _density(archive, orders, units)

        yield moved(archive, orders, key)


def by_rows(archive: Archive, net: GraphNetwork) -> Iterator[Archive]:
    """The archive with the units of each set sorted in one group, in two, in four and in eight.

    Outputs are those of `archive` but for the float rounding of sums in another order.

    :param archive: its units by falling density.
    :param net: a network of the archive's architecture.
    """
    before: dict[str, int] | None = None
    for groups in GROUPS:
        found = _sorted(archive, net, groups)
        if found.sorted and found.sorted != before:
            yield found
        before = found.sorted


def _sorted(archive: Archive, net: GraphNetwork, groups: int) -> Archive:
    """The archive with every set sorted in so many groups, the first in the file first."""
    changes = any(spec.role == "mask" for spec in archive.architecture.tensors())
    found: dict[str, int] = {}
    all_orders = _orders(archive, net)
    for i in range(len(all_orders.sets)):
        units = all_orders.sets[i]
        name = _carrier(archive, all_orders, units)
        if name is None:
            continue
        rows = archive.tensors[name].codes
        rows = rows.reshape(len(rows), -1)
        least = 1 << (-(-len(rows) // MAX_GROUP) - 1).bit_length()
        most = 1 << (len(rows) // 2).bit_length() - 1
        count = min(max(groups, least), most)
        size = group_size(len(rows), count)
        if log2(orders(rows, size)) < LEAST_BITS:
            continue
        slots = all_orders.slots(name, 0)
        key = _key(slots, slots[in_order(rows, size)])
        archive = moved(archive, all_orders, key, [units])
        found[name] = count
        if changes:  # what a choice of inputs lets through has moved
            all_orders = _orders(archive, net)
    return replace(archive, sorted=found)


def _orders(archive: Archive, net: GraphNetwork) -> Orders:
    return Orders(Axes(Evaluation(network(archive, deepcopy(net)))))


def _carrier(archive: Archive, all_orders: Orders, units: np.ndarray) -> str | None:
    """The weight whose rows carry a set of units; None if there is none."""
    rows = {name for name, axis in all_orders.rows(units) if axis == 0}
    architecture = archive.architecture
    swapped = architecture.swapped() if isinstance(architecture, GraphArchitecture) else ()
    for spec in architecture.tensors():
        if spec.role != "weight" or spec.name not in rows or spec.name in swapped:
            continue
        axes = [all_orders.slots(spec.name, axis) for axis in range(len(spec.shape))]
        others = [ids for ids in axes[1:] if ids is not None and np.isin(units, ids).any()]
        if len(axes) > 1 and not others and len(axes[0]) == len(units) <= MAX_ROWS:
            return spec.name
    return None


def _key(slots: np.ndarray, order: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """What puts units in an order where they stand as `slots`."""

    def key(units: np.ndarray) -> np.ndarray:
        place = {unit: i for i, unit in enumerate(units.tolist())}
        found = {new: place[old] for new, old in zip(order.tolist(), slots.tolist(), strict=True)}
        return np.array([found[unit] for unit in units.tolist()])

    return key


def moved(
    archive: Archive,
    orders: Orders,
    key: Callable[[np.ndarray], np.ndarray],
    sets: list[np.ndarray] | None = None,
) -> Archive:
    """The archive with sets of units sorted by a key; see `graph.Orders.moved`."""
    tensors = dict(archive.tensors)
    for name, places in orders.moved(key, sets).items():
        tensor = tensors[name]
        quantised = isinstance(tensor, Quantised)
        tensors[name] = select(tensor, places) if quantised else taken(tensor, places)
    return replace(archive, tensors=tensors)


def _density(archive: Archive, orders: Orders, units: np.ndarray) -> np.ndarray:
    """How many weights make each unit, int64 (units,)."""
    count = np.zeros(len(units), np.int64)
    for name, axis in orders.rows(units):
        tensor = archive.tensors[name]
        if axis == 0 and isinstance(tensor, Quantised) and tensor.codes.ndim > 1:
            rows = np.count_nonzero(tensor.codes.reshape(len(tensor.codes), -1), axis=1)
            place = {unit: i for i, unit in enumerate(units.tolist())}
            np.add.at(count, [place[u] for u in orders.slots(name, axis).tolist()], rows)
    return count
