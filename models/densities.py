"""How dense a quantised tensor's rows and columns are, and how large its levels: a code's tables.

A static version of what the range coder learns as it goes (docs/format.md): log odds of a nonzero
level as a sum over row, column and channel, each with a Gaussian prior whose precision is the
coder's stiffness, at their mode for the levels at hand; signs and magnitudes by counts plus 1/2.
The coder has to learn all that from the file, which costs bits. Here these are `own_nats`: for log
odds the negative log evidence of the tables by Laplace's approximation, with a diagonal Hessian,
less the price of the levels at the mode; for counts the Krichevsky-Trofimov code less the same.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from ..distributions.lattice import Lattice

STIFFNESS = {"row": 5.0, "column": 7.0, "channel": 1.5}  # precisions, those of the coder
DENSITY, COMMON = -2.0, 0.8  # mean and precision of the prior of what all entries share
AROUND = 0.9  # a column's prior mean over the mean of the 8 around it
MAGNITUDES = 16  # with a price of their own; beyond them it rises by as much for each
SWEEPS = 4  # of Newton's method over the tables at each refresh, from where they were
LARGEST_MOVE = 2.0  # of a table's entry in one of its steps, nats


class Densities(nn.Module):
    """The tables of one weight tensor's prior, all of them buffers.

    :param like: a tensor of the weight's shape and dtype; rows are its first axis, columns all
        others.
    :param units: number of units of the layer before, 0 for the first one. It tells an image or
        flattened feature maps from a row of units, as in the coder.
    """

    def __init__(self, like: Tensor, units: int = 0):
        super().__init__()
        self.rows = like.shape[0] if like.dim() > 1 else 1
        self.columns = like.numel() // max(self.rows, 1)
        self.channels, self.lines = _geometry(tuple(like.shape), self.columns, units)
        sizes = {"row": self.rows, "column": self.columns, "channel": self.channels}
        for name, size in sizes.items():
            self.register_buffer(name, like.new_zeros(size))
        self.register_buffer("common", like.new_tensor(DENSITY))
        self.register_buffer("log_odds", torch.full_like(like, DENSITY).detach())
        self.register_buffer("sign", like.new_full((2,), math.log(2)))
        self.register_buffer("magnitude", like.new_zeros(MAGNITUDES + 1))
        self.register_buffer("own_nats", like.new_zeros(()))

    def lattice(self, step: Tensor) -> Lattice:
        """The prior of the tensor's weights, multiples of `step`."""
        return Lattice(step, self.log_odds, self.sign, self.magnitude)

    @torch.no_grad()
    def refresh(self, levels: Tensor) -> None:
        """Fit the tables to the tensor's levels (whole numbers, its shape); in place."""
        there = (levels != 0).to(self.log_odds.dtype).reshape(self.rows, self.columns)
        nats = self._fit_positions(there)
        nats += self._fit_signs(levels)
        nats += self._fit_magnitudes(levels)
        self.own_nats.copy_(nats)

    def _sum(self) -> Tensor:
        """Log odds of all entries, shape (rows, columns)."""
        channel = self.channel.repeat_interleave(self.columns // self.channels)
        return self.common + self.row[:, None] + self.column + channel

    def _fit_positions(self, there: Tensor) -> Tensor:
        """Newton's method on one table after the other; each table's Hessian is diagonal."""
        tables = ["row", "column"] + ["channel"] * (self.channels > 1 and self.lines > 0)
        spent = there.new_zeros(())
        for sweep in range(SWEEPS):
            for name in ("common", *tables):
                p = torch.sigmoid(self._sum())
                gain, information = (self._marginal(name, t) for t in (there - p, p * (1 - p)))
                stiffness, mean = STIFFNESS.get(name, COMMON), self._mean(name)
                table = getattr(self, name)
                move = (gain - stiffness * (table - mean)) / (information + stiffness)
                table.add_(move.clamp(-LARGEST_MOVE, LARGEST_MOVE))
                if sweep == SWEEPS - 1:
                    occam = torch.log1p(information / stiffness)
                    spent += 0.5 * (stiffness * (table - mean).square() + occam).sum()
        self.log_odds.copy_(self._sum().reshape(self.log_odds.shape))
        return spent

    def _marginal(self, name: str, entries: Tensor) -> Tensor:
        """Sums of entries, shape (rows, columns), over what shares one entry of a table."""
        if name == "common":
            return entries.sum()
        if name == "row":
            return entries.sum(1)
        total = entries.sum(0)
        return total if name == "column" else total.reshape(self.channels, -1).sum(1)

    def _mean(self, name: str) -> Tensor | float:
        """The prior mean of a table: 0, but of columns on a rectangle what those around say."""
        if name == "common":
            return DENSITY
        if name != "column" or not self.lines:
            return 0.0
        kernel = self.column.new_full((1, 1, 3, 3), AROUND / 8)
        kernel[0, 0, 1, 1] = 0
        field = self.column.reshape(self.channels, 1, self.lines, -1)
        return conv2d(field, kernel, padding=1).reshape(-1)

    def _fit_signs(self, levels: Tensor) -> Tensor:
        counts = torch.stack([(levels < 0).sum(), (levels > 0).sum()]).to(self.sign.dtype)
        self.sign.copy_(_half_more(counts))
        return _learning(counts, self.sign)

    def _fit_magnitudes(self, levels: Tensor) -> Tensor:
        """Magnitudes in unary: each decision is to stop or to go on, the last one for all after.

        Magnitudes from MAGNITUDES - 1 on share one decision, so that they fall off geometrically.
        """
        size = levels.abs().flatten()
        last = MAGNITUDES - 1
        counts = torch.bincount(size.clamp(max=last).long(), minlength=last + 1)[1:]
        stop = counts.to(self.magnitude.dtype)
        go = stop.flip(0).cumsum(0).flip(0) - stop
        go[-1] = (size - last).clamp(min=0).sum()
        decisions = torch.stack([stop, go], 1)
        nats = _half_more(decisions)
        before = torch.cat([nats.new_zeros(1), nats[:, 1].cumsum(0)])
        self.magnitude[1:-1].copy_(before[:-1] + nats[:, 0])
        self.magnitude[-1].copy_(before[-1] + nats[-1, 0])
        return _learning(decisions, nats)


def _half_more(counts: Tensor) -> Tensor:
    """-log of the probabilities that counts, shape (..., 2), have with 1/2 added to each."""
    more = counts + 0.5
    return more.sum(-1, keepdim=True).log() - more.log()


def _learning(counts: Tensor, nats: Tensor) -> Tensor:
    """What decisions cost under Krichevsky and Trofimov's adaptive code more than under `nats`."""
    n = counts.double()
    code = torch.lgamma(n.sum(-1) + 1) - (torch.lgamma(n + 0.5) - math.lgamma(0.5)).sum(-1)
    return (code.sum() - (n * nats).sum()).to(nats.dtype)


def _geometry(shape: tuple[int, ...], columns: int, units: int) -> tuple[int, int]:
    """Channels, and lines of the rectangle of taps in each; 0 lines where there is none."""
    channels = shape[1] if len(shape) > 2 else 1
    if len(shape) == 2 and units and columns % units == 0:
        channels = units
    taps = columns // max(channels, 1)
    lines = shape[2] if len(shape) > 3 else math.isqrt(taps)
    square = len(shape) > 2 or lines * lines == taps
    if taps < 2:
        return 1, 0
    return channels, (lines if square else 1)
