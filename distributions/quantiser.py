"""A uniform quantiser of nested widths: finer grids refine coarser ones (van Baalen et al. 2020).

A grid of b bits has 2^b - 1 steps from one end of its range to the other: [-r, r] if signed, where
codes are -(2^(b-1) - 1) .. 2^(b-1) - 1 (2 bits are ternary), else [0, r], codes 0 .. 2^b - 1. Where
a divides b, the steps of a and b have the odd ratio 1 + 2^a + 2^(2a) + ..., so that every value of
the coarser grid is one of the finer, and adding the rounded residual is rounding at once.

1 bit of an unsigned range is codes 0 and 1. A signed range has no such grid: 1 bit of it is a
sign, -s or s with s = mean(|x|), codes -1 and 1, which no finer grid contains.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

MAX_WIDTH = 32
_INSIDE = 1 - 1e-7  # of the range: its very end would be rounded beyond the last code


def check_widths(widths: Sequence[int]) -> tuple[int, ...]:
    """The widths as a tuple.

    :raises ValueError: unless they rise from 1 or more to at most 32 bits, each dividing the next.
    """
    widths = tuple(widths)
    whole = bool(widths) and all(type(width) is int for width in widths)
    if not whole or widths[0] < 1 or widths[-1] > MAX_WIDTH:
        raise ValueError(f"widths must be whole numbers of bits within 1..{MAX_WIDTH}: {widths}")
    if any(b <= a or b % a for a, b in pairwise(widths)):
        raise ValueError(
            f"each width must divide the next, as in 2, 4, 8 or 3, 6, 12, so that grids nest; "
            f"got {widths}"
        )
    return widths


def step_of(reach: Tensor, width: int, signed: bool) -> Tensor:
    """The spacing of a grid of `width` bits up to `reach`, scalar."""
    return reach * ((2.0 if signed else 1.0) / (2.0**width - 1))


def stored_step(reach: Tensor, width: int, signed: bool, x: Tensor | None = None) -> Tensor:
    """The same, detached, rounded to a bfloat16: what a compressed file holds.

    :param x: what is quantised, whose mean magnitude is the step of a sign.
    """
    sign = signed and width == 1
    step = sign_scale(x) if sign else step_of(reach.detach(), width, signed)
    return step.to(torch.bfloat16).to(reach.dtype)


def sign_scale(x: Tensor) -> Tensor:
    """s of the nearest s sign(x) to x: mean(|x|), detached, scalar (Rastegari et al. 2016)."""
    return x.detach().abs().mean().clamp(min=1e-6)


def largest_code(width: int, signed: bool) -> int:
    return max(2 ** (width - 1) - 1, 1) if signed else 2**width - 1


def with_scaled_gradient(value: Tensor, scale: float) -> Tensor:
    """The same value, whose gradient is multiplied by `scale`."""
    return value.detach() + scale * (value - value.detach())


def clipped(x: Tensor, reach: Tensor, signed: bool) -> Tensor:
    """x within the range; what is clipped passes its gradient to `reach`."""
    high = reach * _INSIDE
    return torch.minimum(torch.maximum(x, -high if signed else torch.zeros_like(high)), high)


def quantise(
    x: Tensor, reach: Tensor, widths: Sequence[int], gates: Tensor, signed: bool,
    clip_only: bool = False, independent: bool = False,
) -> Tensor:  # fmt: skip
    """x on the grid whose gates are open, in between where gates are.

    x2 + z4 (e4 + z8 (e8 + ...)), e_b the residual rounded to the steps of b bits. Rounding passes
    gradients on unchanged (straight-through): biased, since the true gradient is 0 almost
    everywhere. With that, the gradient of a step is round(x / step) - x / step. A sign passes
    gradients on like that, too: to x inside the range, and to the range where x is clipped. After a
    sign e_2 is x2 - x1, so that the next gate puts a grid in its place, (1 - z2) x1 + z2 (x2 + ..).

    :param reach: the end of the range, positive, scalar.
    :param gates: of each width beyond the first, within [0, 1], shape `(len(widths) - 1,)`.
    :param clip_only: whether `reach` gets gradients of clipped values alone, 1 each (Choi et al.
        2018, PACT): steps count as constants.
    :param independent: whether gates form no chain: each that is open, from the narrowest on, puts
        x on its own grid in place of what was before, so that the widest open one counts,
        (1 - z8) ((1 - z4) x2 + z4 x4) + z8 x8.
    """
    scale, x = sign_scale(x), clipped(x, reach, signed)
    reach = reach.detach() if clip_only else reach
    sign = signed and widths[0] == 1
    total = _sign(x, scale) if sign else _round(x, step_of(reach, widths[0], signed))
    so_far, open_ = total, 1.0
    for k, (gate, width) in enumerate(zip(gates, widths[1:], strict=True)):
        step = step_of(reach, width, signed)
        if independent:
            total = total + gate * (_round(x, step) - total)
            continue
        residual = _round(x, step) - so_far if sign and k == 0 else _round(x - so_far, step)
        so_far, open_ = so_far + residual, open_ * gate
        total = total + open_ * residual
    return total


def codes_of(x: Tensor, step: Tensor, width: int, signed: bool) -> Tensor:
    """The integers of x on a grid of one width, int64: the nearest that there are."""
    if signed and width == 1:
        return torch.where(x.detach() < 0, -1, 1)
    most = largest_code(width, signed)
    return (x.detach() / step).round().clamp(-most if signed else 0, most).long()


def quantised_relu(x: Tensor, step: Tensor | float, width: int) -> Tensor:
    """The unsigned grid of one width as a forward pass on stored numbers has it."""
    return torch.clamp(torch.round(x / step), 0, largest_code(width, False)) * step


def _sign(x: Tensor, scale: Tensor) -> Tensor:
    return x + (torch.where(x < 0, -scale, scale) - x).detach()


def _round(x: Tensor, step: Tensor) -> Tensor:
    level = x / step
    return step * (level + (level.round() - level).detach())
