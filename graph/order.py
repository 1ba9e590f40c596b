"""Units in another order: the same function, with rows and columns moved together.

The units of a set can change places if every axis that has one of them has them all: then all slots
of one unit can be given to another. That holds for hidden units and feature maps, for the channels
of a residual stream, for attention heads and for recurrent units.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np

from .axes import Axes
from .ir import Ref


class Orders:
    """The sets of units of a network that may stand in any order.

    :param axes: the network's units.
    """

    def __init__(self, axes: Axes) -> None:
        self._axes = axes
        graph = axes.graph
        self._ids = {node.name: axes.ids(Ref(node)) for node in graph.parameters}
        #: By unit, and by all units of an axis, the parameters and axes that have them.
        self._with: dict[int, list[tuple[str, int]]] = defaultdict(list)
        self._rows: dict[tuple[int, ...], list[tuple[str, int]]] = defaultdict(list)
        for name, slots in self._ids.items():
            for axis, ids in enumerate(slots):
                if ids is None:
                    continue
                units = tuple(np.unique(ids).tolist())
                self._rows[units].append((name, axis))
                for unit in units:
                    self._with[unit].append((name, axis))
        self.sets = self._find()

    def _find(self) -> list[np.ndarray]:
        holders = self._holders()
        found: dict[tuple[int, ...], np.ndarray] = {}
        for axes in self._ids.values():
            for ids in axes:
                if ids is None:
                    continue
                units, counts = np.unique(ids, return_counts=True)
                key = tuple(units.tolist())
                if key in found or len(units) < 2 or len(set(counts.tolist())) > 1:
                    continue
                if self._axes.units.is_frozen(units).any():
                    continue
                others = {id(o): o for unit in key for o in holders[unit]}.values()
                if all(_has_blocks(other, units) for other in others):
                    found[key] = units
        return list(found.values())

    def _holders(self) -> dict[int, list[np.ndarray]]:
        """By unit, what stands on the axes that have it; on equal axes, once."""
        axes = self._axes
        everywhere = (ids for ref in axes.refs() for ids in axes.ids(ref) if ids is not None)
        found: dict[int, list[np.ndarray]] = defaultdict(list)
        for ids in {ids.tobytes(): ids for ids in everywhere}.values():
            for unit in np.unique(ids).tolist():
                found[unit].append(ids)
        return found

    def rows(self, units: np.ndarray) -> list[tuple[str, int]]:
        """The parameters and axes that have exactly these units, in the order of the graph.

        :param units: in ascending order.
        """
        return self._rows.get(tuple(units.tolist()), [])

    def slots(self, name: str, axis: int) -> np.ndarray | None:
        """The unit at each position of a parameter's axis."""
        return self._ids[name][axis]

    def moved(
        self, key: Callable[[np.ndarray], np.ndarray], sets: list[np.ndarray] | None = None
    ) -> dict[str, tuple[np.ndarray | None, ...]]:
        """Where each parameter's positions come from when sets are sorted.

        :param key: of a set of units, int64 (n,), the number that each is sorted by; equal ones
            stay as they were.
        :param sets: those to sort, of `self.sets`; None: all.
        :returns: for each parameter that changes, for each of its axes the old position at each
            new one, or None for no change.
        """
        sources = {name: [None] * len(axes) for name, axes in self._ids.items()}
        for units in self.sets if sets is None else sets:
            first = self._first_order(units)
            order = first[np.argsort(key(first), kind="stable")]
            if np.array_equal(order, first):
                continue
            for name, axis in self._with[int(units[0])]:
                ids, places = self._ids[name][axis], sources[name][axis]
                places = np.arange(len(ids)) if places is None else places
                now = _slots(ids, first)
                now = np.sort(now) if _is_uneven(ids, units) else now
                places[now] = _slots(ids, order)
                sources[name][axis] = places
        return {
            name: tuple(axes)
            for name, axes in sources.items()
            if any(places is not None for places in axes)
        }

    def _first_order(self, units: np.ndarray) -> np.ndarray:
        """The units in the order in which they stand in the first axis that has them."""
        name, axis = self.rows(units)[0]
        ids = self._ids[name][axis]
        return ids[np.sort(np.unique(ids, return_index=True)[1])]


def _slots(ids: np.ndarray, units: np.ndarray) -> np.ndarray:
    """The positions of units on an axis: those of the first, then of the second, ...

    Where each has as many positions, its k-th position goes where another's k-th was. Where some
    have fewer, since a `pick` leaves positions out, each unit's positions stand side by side, and
    the axis has no others: then units simply follow each other.
    """
    return np.concatenate([np.flatnonzero(ids == unit) for unit in units])


def _has_blocks(ids: np.ndarray, units: np.ndarray) -> bool:
    """Whether an axis has all of these units, and they can change places there."""
    positions = [np.flatnonzero(ids == unit) for unit in units]
    counts = {len(p) for p in positions}
    if 0 in counts:
        return False
    if len(counts) == 1:
        return True
    return np.isin(ids, units).all() and all(bool((np.diff(p) == 1).all()) for p in positions)


def _is_uneven(ids: np.ndarray, units: np.ndarray) -> bool:
    """Whether some of the units have fewer positions on an axis than others."""
    return len({int((ids == unit).sum()) for unit in units}) > 1
