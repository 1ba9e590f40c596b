"""Units of axes: sets of positions that can only be kept or removed together.

Each axis of each value and parameter is a product of `Atom`s, the last one fastest. An atom is
either of no interest, or has a unit at each of its positions. Units are numbers; `Units` joins them
where operators tie positions to each other, and freezes those that must stay.
"""

from __future__ import annotations

import numpy as np


class Units:
    """A union-find structure over units.

    Each unit is a whole number; `find` gives the one that stands for all it has been joined with,
    the smallest of them.

    :param inner: which axis of a `Joint` keeps its units: the last one, or else the first.
    """

    def __init__(self, inner: bool = False) -> None:
        self.inner = inner
        self.splits = False  # whether there was a `Joint` to decide on
        self._parent = np.zeros(64, np.int64)
        self._frozen = np.zeros(64, bool)  # of the units that stand for others
        self._count = 0

    def new(self, count: int, frozen: bool = False) -> np.ndarray:
        """So many new units, int64 of shape (count,)."""
        first, self._count = self._count, self._count + count
        while self._count > len(self._parent):
            self._parent = np.concatenate([self._parent, np.zeros_like(self._parent)])
            self._frozen = np.concatenate([self._frozen, np.zeros_like(self._frozen)])
        units = np.arange(first, self._count)
        self._parent[units] = units
        self._frozen[units] = frozen
        return units

    def find(self, units: np.ndarray) -> np.ndarray:
        """The unit that stands for each, same shape."""
        found = self._parent[units]
        while True:
            above = self._parent[found]
            if np.array_equal(above, found):
                break
            found = above
        self._parent[units] = found
        return found

    def join(self, left: np.ndarray, right: np.ndarray) -> None:
        """Tie units pair by pair; the arrays broadcast against each other."""
        left, right = (part.reshape(-1) for part in np.broadcast_arrays(left, right))
        while True:
            left, right = self.find(left), self.find(right)
            apart = left != right
            if not apart.any():
                return
            left, right = left[apart], right[apart]
            low, high = np.minimum(left, right), np.maximum(left, right)
            frozen = self._frozen[low] | self._frozen[high]
            np.minimum.at(self._parent, high, low)
            # Of several pairs of one unit only one is joined now: the rest follows in turn.
            self._frozen[self.find(high[frozen])] = True
            self._frozen[self.find(low[frozen])] = True

    def freeze(self, units: np.ndarray) -> None:
        """Keep these units whatever happens."""
        self._frozen[self.find(units)] = True

    def is_frozen(self, units: np.ndarray) -> np.ndarray:
        """Whether each unit must stay, bool of the same shape."""
        return self._frozen[self.find(units)]

    def __len__(self) -> int:
        return self._count


class Joint:
    """Units at the places of a rectangle: an axis that a reshape has split into several.

    The rectangle can lose whole slices only, and along one of its axes: which one is decided by
    what follows. Taking one slice of an axis (query, key and value out of one matrix) ties the
    slices to each other. In all other cases the first axis that is left (the heads) keeps its
    units, or the last (the parts of all heads) where `Units.inner` says so. Each unit ties all that
    is in its slice.
    """

    def __init__(self, units: Units, ids: np.ndarray) -> None:
        self._units, self._ids = units, ids
        self.axes = [JointAxis(self, size) for size in ids.shape]

    def tie(self, axis: JointAxis) -> None:
        """All slices along an axis hold the same units; the axis has none of its own then."""
        ids = np.moveaxis(self._ids, self.axes.index(axis), 0)
        self._units.join(ids[:1], ids)
        self._ids = ids[0]
        self.axes.remove(axis)
        if len(self.axes) == 1:
            self.resolve()

    def resolve(self) -> None:
        """One of the axes that are left keeps its units."""
        if self.axes:
            self._units.splits |= len(self.axes) > 1
            which = -1 if self._units.inner else 0
            ids = np.moveaxis(self._ids, which, 0)
            rows = ids.reshape(len(ids), -1)
            self._units.join(rows[:, :1], rows)
            self.axes[which].ids = rows[:, 0]
            self.axes.clear()


class JointAxis:
    """One axis of a `Joint`; `ids` are its units once that is decided, else None."""

    def __init__(self, joint: Joint, size: int) -> None:
        self.joint, self.size = joint, size
        self.ids: np.ndarray | None = None

    @property
    def is_open(self) -> bool:
        return self in self.joint.axes


class Atom:
    """A factor of an axis: `size` positions with a unit each, or without.

    :param ids: the units, shape (size,); None if the positions are of no interest.
    :param axis: of a `Joint`, in the place of ids.
    """

    def __init__(self, size: int, ids: np.ndarray | None = None, axis: JointAxis | None = None):
        self.size, self._ids, self.axis = size, ids, axis

    @property
    def ids(self) -> np.ndarray | None:
        """The units; asking decides an open axis of a `Joint`."""
        if self.axis is None:
            return self._ids
        if self.axis.is_open:
            self.axis.joint.resolve()
        return self.axis.ids


Axis = list[Atom]  # a product of atoms, the last one fastest; empty for size 1


def size_of(axis: Axis) -> int:
    """The number of positions of an axis."""
    size = 1
    for atom in axis:
        size *= atom.size
    return size


def ids_of(axis: Axis, units: Units) -> np.ndarray | None:
    """The unit at each position of an axis, shape (size,); None if it has none.

    Where several factors have units they are frozen: no position belongs to one of them alone.
    """
    tracked = [i for i, atom in enumerate(axis) if atom.ids is not None]
    if len(tracked) != 1:
        for i in tracked:
            units.freeze(axis[i].ids)
        return None
    at = tracked[0]
    before = size_of(axis[:at])
    after = size_of(axis[at + 1 :])
    return np.tile(np.repeat(axis[at].ids, after), before)


def regroup(axes: list[Axis], sizes: tuple[int, ...], units: Units) -> list[Axis]:
    """The axes after a reshape to `sizes`: factors are kept, split, or frozen where they clash."""
    atoms = [atom for axis in axes for atom in axis if atom.size > 1]
    pieces = _pieces([atom.size for atom in atoms], [n for n in sizes if n > 1])
    if pieces is None:
        for atom in atoms:
            if atom.ids is not None:
                units.freeze(atom.ids)
        return [free(n) for n in sizes]
    parts = []
    for atom, split in zip(atoms, pieces, strict=True):
        if len(split) == 1:
            parts.append(atom)
        elif atom.ids is None:
            parts.extend(Atom(n) for n in split)
        else:
            joint = Joint(units, atom.ids.reshape(split))
            parts.extend(Atom(axis.size, axis=axis) for axis in joint.axes)
    result, at = [], 0
    for size in sizes:
        axis: Axis = []
        while size_of(axis) < size:
            axis.append(parts[at])
            at += 1
        result.append(axis)
    return result


def _pieces(old: list[int], new: list[int]) -> list[tuple[int, ...]] | None:
    """Into which factors each old size splits so that the new ones are products of neighbours.

    None if the borders do not fit: (6, 4) to (8, 3), say.
    """
    result: list[list[int]] = [[] for _ in old]
    at, left = 0, 0
    for size in new:
        while size > 1:
            if left <= 1:
                if at == len(old):
                    return None
                left, at = old[at], at + 1
            part = min(left, size)
            if left % part or size % part:
                return None
            result[at - 1].append(part)
            left, size = left // part, size // part
    if left > 1 or at < len(old):
        return None
    return [tuple(split) for split in result]


def free(size: int) -> Axis:
    """An axis without units."""
    return [Atom(size)] if size > 1 else []


def tracked(ids: np.ndarray) -> Axis:
    """An axis with a unit at each position."""
    return [Atom(len(ids), ids)] if len(ids) > 1 else _single(ids)


def _single(ids: np.ndarray) -> Axis:
    """An axis of one position; it keeps its unit, though nothing can be removed from it."""
    return [Atom(1, ids)] if len(ids) else []
