"""Units in another order: the same function, with rows and columns moved together.

The units of a set can change places if every axis that has one of them has them all: then all slots
of one unit can be given to another. That holds for hidden units and feature maps, for the channels
of a residual stream, for attention heads and for recurrent units.
"""

from __future__ import annotations

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
        everywhere = [ids for ref in axes.refs() for ids in axes.ids(ref) if ids is not None]
        self.sets = self._find(everywhere)

    def _find(self, everywhere: list[np.ndarray]) -> list[np.ndarray]:
        found: dict[tuple[int, ...], np.ndarray] = {}
        for axes in self._ids.values():
            for ids in axes:
                if ids is None:
                    continue
                units, counts = np.unique(ids, return_counts=True)
                movable = len(units) > 1 and not self._axes.units.is_frozen(units).any()
                if not movable or len(set(counts)) > 1:
                    continue
                others = [o for o in everywhere if np.isin(o, units).any()]
                if all(_has_blocks(other, units) for other in others):
                    found.setdefault(tuple(units), units)
        return list(found.values())

    def rows(self, units: np.ndarray) -> list[tuple[str, int]]:
        """The parameters and axes that have exactly these units, in the order of the graph."""
        return [
            (name, axis)
            for name, axes in self._ids.items()
            for axis, ids in enumerate(axes)
            if ids is not None and np.array_equal(np.unique(ids), units)
        ]

    def slots(self, name: str, axis: int) -> np.ndarray | None:
        """The unit at each position of a parameter's axis."""
        return self._ids[name][axis]

    def moved(
        self, key: Callable[[np.ndarray], np.ndarray]
    ) -> dict[str, tuple[np.ndarray | None, ...]]:
        """Where each parameter's positions come from when every set is sorted.

        :param key: of a set of units, int64 (n,), the number that each is sorted by; equal ones
            stay as they were.
        :returns: for each parameter that changes, for each of its axes the old position at each
            new one, or None for no change.
        """
        sources = {name: [None] * len(axes) for name, axes in self._ids.items()}
        for units in self.sets:
            first = self._first_order(units)
            order = first[np.argsort(key(first), kind="stable")]
            if np.array_equal(order, first):
                continue
            for name, axes in self._ids.items():
                for axis, ids in enumerate(axes):
                    if ids is not None and np.isin(units, ids).all():
                        places = sources[name][axis]
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
