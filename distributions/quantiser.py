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


def quantise(
    x: Tensor, reach: Tensor, widths: Sequence[int], gates: Tensor, signed: bool,
    clip_only: bool = False, independent: bool = False,
) -> Tensor:  # fmt: skip
    """x on the grid whose gates are open, in between where gates are.

    x2 + z4 (e4 + z8 (e8 + ...)), e_b the residual rounded to the steps of b bits. Rounding passes
    gradients on unchanged (straight-through): biased, since the true gradient is 0 almost
    everywhere. With that, the gradient of a step is round(x / step) - x / step, so that of the
    range is (result - x) / reach: all x_b have it, and the result is an average of them. A sign
    passes gradients on like that, too, but none to the range. What is clipped passes its gradient
    to the range. After a sign e_2 is x2 - x1, so that the next gate puts a grid in its place,
    (1 - z2) x1 + z2 (x2 + ..).

    :param reach: the end of the range, positive, scalar.
    :param gates: of each width beyond the first, within [0, 1], shape `(len(widths) - 1,)`.
    :param clip_only: whether `reach` gets gradients of clipped values alone, 1 each (Choi et al.
        2018, PACT): steps count as constants.
    :param independent: whether gates form no chain: each that is open, from the narrowest on, puts
        x on its own grid in place of what was before, so that the widest open one counts,
        (1 - z8) ((1 - z4) x2 + z4 x4) + z8 x8.
    """
    high = reach.detach() * _INSIDE
    low = -high if signed else torch.zeros_like(high)
    within = torch.minimum(torch.maximum(x.detach(), low), high)
    sign = sign_scale(x) if signed and widths[0] == 1 else None
    result, drift = _averaged(within, reach.detach(), widths, gates, signed, sign, independent)
    # Gradients are written out, as sums of a tensor once each: several times faster compiled.
    slope = (x.detach() > high).to(x.dtype)
    slope = slope - (x.detach() < low).to(x.dtype) if signed else slope
    if not clip_only:
        slope = slope + drift / reach.detach()
    inside = ((x.detach() >= low) & (x.detach() <= high)).to(x.dtype)
    return result + inside * (x - x.detach()) + slope * (reach - reach.detach())


def _averaged(
    x: Tensor, reach: Tensor, widths: Sequence[int], gates: Tensor, signed: bool,
    sign: Tensor | None, independent: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The average of x on all grids, with gradients of gates, and how far rounding moves it.

    :param sign: the scale of a first grid of 1 bit; its part moves no range, and is left out.
    """
    first = torch.where(x < 0, -sign, sign) if sign is not None else None
    total = so_far = _round(x, reach, widths[0], signed) if first is None else first
    open_ = torch.ones_like(reach)  # shares of x1, and of all that the last gate lets through
    share = open_
    for k, (gate, width) in enumerate(zip(gates, widths[1:], strict=True)):
        share = share * (1 - gate) if independent or k == 0 else share
        if independent:
            total = total + gate * (_round(x, reach, width, signed) - total)
            continue
        rounded_anew = first is not None and k == 0
        rest = torch.zeros_like(x) if rounded_anew else so_far
        residual = _round(x - rest, reach, width, signed) - (so_far if rounded_anew else 0)
        so_far, open_ = so_far + residual, open_ * gate
        total = total + open_ * residual
    drift = total - x if first is None else total - x - share * (first - x)
    return total, drift.detach()


def codes_of(x: Tensor, step: Tensor, width: int, signed: bool) -> Tensor:
    """The integers of x on a grid of one width, int64: the nearest that there are."""
    if signed and width == 1:
        return torch.where(x.detach() < 0, -1, 1)
    most = largest_code(width, signed)
    return (x.detach() / step).round().clamp(-most if signed else 0, most).long()


def quantised_relu(x: Tensor, step: Tensor | float, width: int) -> Tensor:
    """The unsigned grid of one width as a forward pass on stored numbers has it."""
    return torch.clamp(torch.round(x / step), 0, largest_code(width, False)) * step


def _round(x: Tensor, reach: Tensor, width: int, signed: bool) -> Tensor:
    step = step_of(reach, width, signed)
    return step * (x / step).round()
