"""Integers that trade distortion for bits: rate-distortion quantization of one weight tensor.

For a matrix W of weights, rows its output units, and the second moments A of what its columns are
multiplied by, the quantizer looks for integers n that minimize

    1/2 sum_r s_r (n_r step - w_r) A (n_r step - w_r)^T  +  rate * bits(n),                   (1)

where s_r weighs an output unit and bits are the coder's own code lengths
(price_of_integers.py). The integer 0 is a pruned weight. Rows do not interact in (1) while the
prices are held fixed.

1. `feedback`: one column after the other is put on its integer, and the columns that follow take
   over the error (optimal brain surgeon: Hassibi and Stork 1993; the order and the Cholesky factor
   of the inverse are those of GPTQ: Frantar et al. 2023). With U the upper Cholesky factor of
   A^-1, an error e in column j costs e^2 / (2 U_jj^2) once the later columns have moved by
   -e U_jk / U_jj.
2. `descend`: sweeps of coordinate descent on (1). Given all others, the best real value of a
   weight is w - (E A)_j / A_jj, E being the error so far, and each integer costs A_jj / 2 times its
   squared distance from that. No sweep raises (1).

Prices are fitted again between the passes. The step follows from `rate` (`step_for`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from .column_walk import COMPILED_FROM, SHARED, descend_block, feedback_block
from .numba_loops import compiled, has_numba
from .price_of_integers import NATS_PER_BIT, Prices

BLOCK = 64  # columns between two updates of the rest


def step_for(second: Tensor, importance: Tensor, rate: float, root: Tensor | None = None) -> float:
    """The step of an entropy-coded uniform quantizer at a price of a bit.

    Rounding to a step makes an error of variance step^2 / 12. In (1) it costs c step^2 / 24, where
    c is s_r / U_jj^2. Its geometric mean over rows and columns is that of s_r times
    det(A)^(1 / columns). One more bit for each weight halves the step, so that
    d(cost) / d(bits) = -2 ln 2 c step^2 / 24, which is -rate at the best:

        step^2 = 12 rate / (ln 2 c).

    :param second: A, shape (groups, columns, columns), or its diagonal, (groups, columns).
    :param importance: s of each unit, any shape.
    :param root: the lower Cholesky factor of A, if it is known.
    """
    if second.dim() == 2:
        spread = second.log().mean()
    else:
        root = torch.linalg.cholesky(second) if root is None else root
        spread = 2 * root.diagonal(dim1=1, dim2=2).log().mean()
    spread = float(spread) + float(importance.log().mean())
    return math.sqrt(12 * rate / (NATS_PER_BIT * math.exp(spread)))


def quantize(
    weight: Tensor,
    second: Tensor,
    importance: Tensor,
    step: float,
    rate: float,
    refit: Callable[[Tensor], Prices],
    sweeps: int = 1,
    root: Tensor | None = None,
) -> Tensor:
    """Integers that minimize (1) approximately.

    :param weight: W, shape (groups, rows, columns): one matrix for each group of a convolution.
    :param second: A, symmetric and positive definite, shape (groups, columns, columns).
    :param importance: s of each row, shape (groups, rows) or (1, 1).
    :param step: the spacing of the grid, in units of the weight.
    :param rate: what a bit costs, in units of the distortion.
    :param refit: gives the prices of integers of the weight's shape.
    :param sweeps: of coordinate descent.
    :param root: the lower Cholesky factor of A, if it is known.
    :returns: whole numbers, of the weight's shape and dtype.
    """
    prices = refit(torch.round(weight / step))
    codes = feedback(weight, second, importance, step, rate, prices, root)
    for _ in range(sweeps):
        codes = descend(codes, weight, second, importance, step, rate, refit(codes))
    return codes


def feedback(
    weight: Tensor,
    second: Tensor,
    importance: Tensor,
    step: float,
    rate: float,
    prices: Prices,
    root: Tensor | None = None,
) -> Tensor:
    """One pass with error feedback; parameters as of `quantize`."""
    upper = _upper(second, root)
    left, codes = weight.clone(), torch.zeros_like(weight)
    table = _Table(prices, weight.shape, step, rate)
    scale = upper.diagonal(dim1=1, dim2=2)[:, None]  # (groups, 1, columns)
    loop = _loop(feedback_block, weight)
    for first in range(0, weight.shape[2], BLOCK):
        last = min(first + BLOCK, weight.shape[2])
        errors = left.new_zeros(*left.shape[:2], last - first)
        if loop is not None:
            table.run(loop, left, codes, errors, upper, importance, scale**-2, first, last)
        for j in range(first, last) if loop is None else ():
            target = left[:, :, j]
            codes[:, :, j] = table.best(j, target, importance / scale[:, :, j] ** 2)
            error = (target - step * codes[:, :, j]) / scale[:, :, j]
            errors[:, :, j - first] = error
            left[:, :, j + 1 : last] -= error[:, :, None] * upper[:, j, None, j + 1 : last]
        left[:, :, last:] -= errors @ upper[:, first:last, last:]
    return codes


def descend(
    codes: Tensor,
    weight: Tensor,
    second: Tensor,
    importance: Tensor,
    step: float,
    rate: float,
    prices: Prices,
) -> Tensor:
    """One sweep of coordinate descent from given integers; parameters as of `quantize`."""
    codes = codes.clone()
    table = _Table(prices, weight.shape, step, rate)
    slope = (step * codes - weight) @ second
    diagonal = second.diagonal(dim1=1, dim2=2)[:, None]
    loop = _loop(descend_block, weight)
    for first in range(0, weight.shape[2], BLOCK):
        last = min(first + BLOCK, weight.shape[2])
        moves = slope.new_zeros(*slope.shape[:2], last - first)
        if loop is not None:
            table.run(loop, slope, codes, moves, second, importance, diagonal, first, last)
        for j in range(first, last) if loop is None else ():
            target = step * codes[:, :, j] - slope[:, :, j] / diagonal[:, :, j]
            best = table.best(j, target, importance * diagonal[:, :, j])
            move = step * (best - codes[:, :, j])
            moves[:, :, j - first], codes[:, :, j] = move, best
            slope[:, :, j + 1 : last] += move[:, :, None] * second[:, j, None, j + 1 : last]
        slope[:, :, last:] += moves @ second[:, first:last, last:]
    return codes


def _loop(block: Callable, weight: Tensor) -> Callable | None:
    """A block's loop through numba, where that is there and pays."""
    pays = weight.numel() >= COMPILED_FROM and has_numba()
    return compiled(block, SHARED) if pays else None


def independent(
    weight: Tensor,
    diagonal: Tensor,
    importance: Tensor,
    step: float,
    rate: float,
    refit: Callable[[Tensor], Prices],
    rounds: int = 2,
) -> Tensor:
    """Integers for a diagonal A, of shape (groups, columns): each weight by itself.

    The other parameters are those of `quantize`.
    """
    codes = torch.round(weight / step)
    for _ in range(rounds):
        table = _Table(refit(codes), weight.shape, step, rate)
        target, curvature = weight.permute(2, 0, 1), (importance * diagonal.T[:, :, None])
        codes = table.best(slice(None), target, curvature).permute(1, 2, 0)
    return codes.contiguous()


def distortion(
    codes: Tensor, weight: Tensor, second: Tensor, importance: Tensor, step: float
) -> float:
    """The first term of (1); parameters as of `quantize`."""
    error = step * codes - weight
    rows = ((error @ second) * error).double().sum(2)
    return 0.5 * float((importance * rows).sum())


def _upper(second: Tensor, root: Tensor | None = None) -> Tensor:
    """U, upper triangular, with U^T U = A^-1, for each group.

    :param root: the lower Cholesky factor of A, if it is known.
    """
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(second) if root is None else root)
    return torch.linalg.cholesky(inverse, upper=True).contiguous()


class _Table:
    """The choice of an integer, given prices."""

    def __init__(self, prices: Prices, shape: torch.Size, step: float, rate: float) -> None:
        self._prices, self._step, self._rate = prices, step, rate
        self._rows = [side.reshape(shape) for side in (prices.zero, prices.other)]

    @cached_property
    def _columns(self) -> list[Tensor]:
        """What a zero and any other integer cost, by columns: one column lies in one piece."""
        return [self._rate * side.permute(2, 0, 1).contiguous() for side in self._rows]

    def run(
        self,
        loop: Callable,
        numbers: Tensor,
        codes: Tensor,
        moves: Tensor,
        square: Tensor,
        importance: Tensor,
        curvature: Tensor,
        first: int,
        last: int,
    ) -> None:
        """A loop of column_walk.py for each group, on arrays that share memory with tensors."""
        weigh = 0.5 * self._step**2 * curvature[:, 0]
        rows = importance.to(weigh).expand(codes.shape[:2])
        bits = self._prices.magnitude.numpy()
        for g in range(len(codes)):
            parts = numbers, codes, moves, square, rows, weigh, *self._rows
            arrays = [part[g].numpy() for part in parts]
            loop(*arrays, bits, self._step, self._rate, first, last)

    def best(self, columns: int | slice, target: Tensor, curvature: Tensor) -> Tensor:
        """The integers n of least curvature / 2 (n step - target)^2 + rate bits(n).

        One of 0, the magnitudes on either side of the target, and one less: no magnitude costs
        less than a smaller one.
        """
        size = target.abs() / self._step
        below = size.floor()
        sizes = torch.stack([below + 1, below, (below - 1).clamp(min=0)])
        weigh = 0.5 * self._step**2 * curvature
        zero, other = (side[columns] for side in self._columns)
        bits = self._rate * self._prices.of_magnitude(sizes) + other
        none = weigh * size.square() + zero
        cost = torch.where(sizes > 0, weigh * (sizes - size).square() + bits, none)
        least, place = cost.min(0)
        chosen = sizes.gather(0, place[None])[0]
        return torch.where(none <= least, 0.0, chosen) * target.sign()
