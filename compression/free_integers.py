"""Integers and biases as numbers that a gradient can move, computed with as a file holds them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .archive import MAX_LEVELS, Quantised
from .price_of_integers import MAGNITUDES, magnitudes


class FreeIntegers:
    """The nonzero integers of some tensors and all integers of some vectors, as real numbers.

    The parameters of a descent are `integers`, in steps, and `vectors`, over the root mean square
    of each vector.

    :param weights: by name; their zeros stay.
    :param vectors: by name, none of them all zeros.
    """

    def __init__(self, weights: dict[str, Quantised], vectors: dict[str, Quantised]) -> None:
        self._weights, self._vectors = weights, vectors
        codes = [torch.from_numpy(coded.codes).flatten() for coded in weights.values()]
        self._places = [found.nonzero()[:, 0] for found in codes]
        self._counts = [len(places) for places in self._places]
        owner = torch.arange(len(codes)).repeat_interleave(torch.tensor(self._counts))
        steps = torch.tensor([coded.grid.step for coded in weights.values()])
        self._owner, self._steps = owner, steps[owner]
        chosen = [found[places] for found, places in zip(codes, self._places, strict=True)]
        self.integers = torch.cat(chosen).float().requires_grad_()
        values = [torch.from_numpy(coded.values()).float() for coded in vectors.values()]
        sizes = [value.numel() for value in values]
        self._units = _each([value.square().mean().sqrt() for value in values], sizes)
        self._grid = _each([torch.tensor(c.grid.step) for c in vectors.values()], sizes)
        self.vectors = (_joined(values) / self._units).requires_grad_()
        # Of each tensor: what a zero would cost in every place, what a magnitude costs more than
        # that, and how much more the next one does.
        self._zeros = 0.0
        self._heights, self._slopes = torch.zeros(2, len(codes), MAGNITUDES + 1)
        self.refit()

    def refit(self) -> None:
        """Work the code lengths out anew, from what the integers are now."""
        rounded, self._zeros = self.integers.detach().round(), 0.0
        parts = zip(self._weights.values(), rounded.split(self._counts), strict=True)
        for i, (coded, part) in enumerate(parts):
            there = part[part != 0]
            if len(there):
                density = (len(there) + 0.5) / (coded.codes.size + 1)
                zero, other = -float(np.log2(1 - density)), -float(np.log2(density))
                self._zeros += zero * coded.codes.size
                bits = magnitudes(there)
                bits[1:] += other - zero
                self._slopes[i, :-1] = bits.diff()
                self._slopes[i, -1] = self._slopes[i, -2]
                self._heights[i] = bits

    def bits(self) -> Tensor:
        """The code length [bits] of the weights, by straight lines between integers."""
        size = self.integers.abs()
        below = size.detach().floor().clamp(max=MAGNITUDES).long()
        above = self._slopes[self._owner, below] * (size - below)
        return self._zeros + (self._heights[self._owner, below] + above).sum()

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """The values that the file would have, by name; gradients pass through the rounding."""
        values = self._steps * _rounded(self.integers)
        parts = zip(self._weights.items(), self._places, values.split(self._counts), strict=True)
        for (name, coded), places, part in parts:
            whole = part.new_zeros(coded.codes.size).index_put((places,), part)
            yield name, whole.view(coded.codes.shape)
        values = self._grid * _rounded(self.vectors * self._units / self._grid)
        sizes = [coded.codes.size for coded in self._vectors.values()]
        for (name, coded), part in zip(self._vectors.items(), values.split(sizes), strict=True):
            yield name, part.view(coded.codes.shape)

    def codes(self) -> dict[str, Quantised]:
        """The integers, on the steps that they had."""
        found = {}
        with torch.no_grad():
            for name, value in self.tensors():
                had = self._weights.get(name) or self._vectors[name]
                codes = (value.double() / had.grid.step).round().clamp(-MAX_LEVELS, MAX_LEVELS)
                found[name] = Quantised(codes.numpy().astype(np.int32), had.grid)
        return found


def _rounded(x: Tensor) -> Tensor:
    """To whole numbers, with the slope of the identity."""
    return x + (x.round() - x).detach()


def _joined(parts: list[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts]) if parts else torch.zeros(0)


def _each(numbers: list[Tensor], sizes: list[int]) -> Tensor:
    """Each number as many times as its vector has elements."""
    return _joined([n.float().expand(size) for n, size in zip(numbers, sizes, strict=True)])
