"""Units sorted as the range coder sorts rows, so that the file does not pay for their order.

A set of units that may stand in any order (`graph.Orders`) has one weight tensor that carries it:
the first in the file whose rows are these units, one each. Its rows are sorted, and everything
else that has a place for each unit follows. So the units of a residual stream count once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from math import log2

import numpy as np

from ..graph import GraphNetwork, Orders
from ..graph.axes import Axes
from ..graph.evaluate import Evaluation
from .archive import Archive
from .file import network
from .graph_architecture import GraphArchitecture
from .order import moved
from .sorted_rows import MAX_ROWS, group_size, in_order, orders

GROUPS = (1, 2, 4, 8)  # numbers to try: the more, the more rows of like density stay together
LEAST_BITS = 16  # of an order: to cut the stream takes about 10


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
        count = min(groups, 1 << (len(rows) // 2).bit_length() - 1)
        size = group_size(len(rows), count)
        if log2(orders(rows, size)) < LEAST_BITS:
            continue
        slots = all_orders.slots(name, 0)
        archive = moved(archive, all_orders, _key(slots, slots[in_order(rows, size)]))
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
    """What puts units in an order where they stand as `slots`, and leaves all others alone."""

    def key(units: np.ndarray) -> np.ndarray:
        if set(units.tolist()) != set(slots.tolist()):
            return np.arange(len(units))
        place = {unit: i for i, unit in enumerate(units.tolist())}
        found = {new: place[old] for new, old in zip(order.tolist(), slots.tolist(), strict=True)}
        return np.array([found[unit] for unit in units.tolist()])

    return key
