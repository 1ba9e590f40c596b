"""What is known of one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Fact:
    """Which positions of a value are constants, and which.

    :param known: bool, of the value's rank; size 1 where an axis makes no difference.
    :param value: the constants, float64 (or the value's own dtype if it is no float), of a shape
        that broadcasts against `known`; of no meaning where not known.
    """

    known: Tensor
    value: Tensor

    def uniform(self, axes: Sequence[int]) -> Fact:
        """The same with size 1 along these axes: known where all along them is one constant."""
        known, value = torch.broadcast_tensors(self.known, self.value)
        for axis in axes:
            if known.shape[axis] != 1:
                same = (value == value.narrow(axis, 0, 1)) & known
                known, value = same.all(axis, keepdim=True), value.narrow(axis, 0, 1)
        return Fact(known, value)

    def periodic(self, axis: int, times: int) -> Fact:
        """Known where an axis holds the same constant in each of so many equal parts."""
        known, value = torch.broadcast_tensors(self.known, self.value)
        if known.shape[axis] == 1:
            return Fact(known, value)
        if known.shape[axis] % times:
            return self.uniform((axis,))
        parts = Fact(known.unflatten(axis, (times, -1)), value.unflatten(axis, (times, -1)))
        parts = parts.uniform((axis,))
        repeats = [times if d == axis else 1 for d in range(known.dim())]
        known, value = (part.squeeze(axis).repeat(repeats) for part in (parts.known, parts.value))
        return Fact(known, value)

    def along(self, axis: int, size: int) -> tuple[Tensor, Tensor]:
        """known and value by the positions of one axis, shape (size,): the same elsewhere."""
        rank = self.known.dim()
        fact = self.uniform(tuple(d for d in range(rank) if d != axis % rank))
        return fact.known.reshape(-1).expand(size), fact.value.reshape(-1).expand(size)
