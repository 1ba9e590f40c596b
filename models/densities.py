"""How dense a quantised tensor's rows and columns are, and how large its levels: a code's tables.

A static version of what the range coder learns as it goes (docs/format.md). The log odds of a
nonzero level are a sum over its row, its column, its channel and the number of nonzeros among the
neighbours coded before it; each of these tables has a Gaussian prior whose precision is the coder's
stiffness, and is put at its mode for the levels at hand. Signs, given those of the neighbours, and
magnitudes go by counts plus 1/2.

The coder has to learn all that from the file, which costs bits. Here these are `own_nats`: for log
odds the negative log evidence of the tables by Laplace's approximation, with a diagonal Hessian,
less the price of the levels at the mode; for counts the Krichevsky-Trofimov code less the same.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad, softplus

from ..distributions.lattice import Lattice

# Precisions of the tables' priors, those of the coder, and the mean of the prior of `common`.
STIFFNESS = {"common": 0.8, "row": 5.0, "column": 7.0, "channel": 1.5, "near": 1.2}
DENSITY, NEAR = -2.0, 0.7  # log odds of a nonzero level; what each neighbour adds to them
AROUND = 0.9  # a column's prior mean over the mean of the 8 around it
MAGNITUDES = 16  # with a price of their own; beyond them it rises by as much for each
SWEEPS = 4  # of Newton's method over the tables at each refresh, from where they were
LARGEST_MOVE = 2.0  # of a table's entry in one of its steps, nats
BEFORE = ((0, -1), (-1, 0), (-1, -1), (-1, 1))  # (lines, places) to the neighbours coded before


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
        sizes = {"common": 1, "row": self.rows, "column": self.columns}
        if self.lines:
            sizes["near"] = 10
        if self.lines and self.channels > 1:
            sizes["channel"] = self.channels
        self.tables = tuple(sizes)
        for name, size in sizes.items():
            self.register_buffer(name, like.new_zeros(size))
        self.common.fill_(DENSITY)
        zero = like.new_tensor([[-DENSITY], [0.0], [-DENSITY]])
        sides = (zero + softplus(like.new_tensor(DENSITY))).expand(3, like.numel())
        self.register_buffer("sides", sides.reshape(3, *like.shape).clone())
        self.register_buffer("magnitude", like.new_zeros(MAGNITUDES + 1))
        self.register_buffer("own_nats", like.new_zeros(()))

    def lattice(self, step: Tensor) -> Lattice:
        """The prior of the tensor's weights, multiples of `step`."""
        return Lattice(step, self.sides, self.magnitude)

    @torch.no_grad()
    def refresh(self, levels: Tensor) -> None:
        """Fit the tables to the tensor's levels (whole numbers, its shape); in place."""
        matrix = levels.to(self.sides.dtype).reshape(self.rows, self.columns)
        log_odds, positions = self._fit_positions((matrix != 0).to(matrix.dtype))
        signs, learning = self._fit_signs(matrix.sign())
        there = softplus(-log_odds)
        sides = torch.stack([there + signs[..., 0], softplus(log_odds), there + signs[..., 1]])
        self.sides.copy_(sides.reshape(self.sides.shape))
        self.own_nats.copy_(positions + learning + self._fit_magnitudes(matrix.abs().flatten()))

    def _fit_positions(self, there: Tensor) -> tuple[Tensor, Tensor]:
        """Newton's method on one table after the other; the Hessian of each is diagonal.

        :returns: log odds of each entry, shape (rows, columns), and the nats of the tables.
        """
        number = torch.arange(self.columns, device=there.device)
        places = {
            "common": torch.zeros_like(number),
            "row": torch.arange(self.rows, device=there.device)[:, None],
            "column": number,
            "channel": number // (self.columns // self.channels),
        }
        if self.lines:
            known, before = self._before(there)
            places["near"] = (known + 5 * before).long()
        places = {name: places[name].expand(there.shape) for name in self.tables}
        for _ in range(SWEEPS):
            spent = there.new_zeros(())
            for name in self.tables:
                log_odds = sum(getattr(self, k)[place] for k, place in places.items())
                spent += self._newton(name, places[name], there, torch.sigmoid(log_odds))
        log_odds = sum(getattr(self, k)[place] for k, place in places.items())
        return log_odds, spent

    def _newton(self, name: str, place: Tensor, there: Tensor, p: Tensor) -> Tensor:
        """One step of a table; returns what it costs: its prior and its evidence's curvature.

        :param place: which entry of the table each weight uses, int64.
        """
        table, stiffness, mean = getattr(self, name), STIFFNESS[name], self._mean(name)
        gain, information = (
            torch.zeros_like(table).index_add_(0, place.flatten(), part.flatten())
            for part in (there - p, p * (1 - p))
        )
        move = (gain - stiffness * (table - mean)) / (information + stiffness)
        table.add_(move.clamp(-LARGEST_MOVE, LARGEST_MOVE))
        price = stiffness * (table - mean).square() + torch.log1p(information / stiffness)
        return 0.5 * price.sum()

    def _mean(self, name: str) -> Tensor | float:
        """The prior mean of a table."""
        if name == "common":
            return DENSITY
        if name == "near":
            return NEAR * (torch.arange(10, device=self.common.device) % 5)
        if name != "column" or not self.lines:
            return 0.0
        kernel = self.column.new_full((1, 1, 3, 3), AROUND / 8)
        kernel[0, 0, 1, 1] = 0
        field = self.column.reshape(self.channels, 1, self.lines, -1)
        return conv2d(field, kernel, padding=1).reshape(-1)

    def _before(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Of each entry, the sum over `BEFORE`, and the same place of the channel before."""
        maps = matrix.reshape(self.rows, self.channels, self.lines, -1)
        lines, width = maps.shape[2:]
        framed = pad(maps, (1, 1, 1, 0))
        near = sum(framed[..., 1 + y : 1 + y + lines, 1 + x : 1 + x + width] for y, x in BEFORE)
        last = pad(maps, (0, 0, 0, 0, 1, 0))[:, :-1]
        return near.reshape(matrix.shape), last.reshape(matrix.shape)

    def _fit_signs(self, signs: Tensor) -> tuple[Tensor, Tensor]:
        """Nats of - and + at each entry, shape (rows, columns, 2), and what learning them costs."""
        near = self._before(signs)[0] if self.lines else torch.zeros_like(signs)
        state = (near.clamp(-2, 2) + 2).long()
        counts = signs.new_zeros(10)
        counts.index_add_(0, (2 * state + (signs > 0)).flatten(), signs.abs().flatten())
        counts = counts.reshape(5, 2)
        nats = _half_more(counts)
        return nats[state], _learning(counts, nats)

    def _fit_magnitudes(self, size: Tensor) -> Tensor:
        """Magnitudes in unary: each decision is to stop or to go on, the last one for all after.

        Magnitudes from MAGNITUDES - 1 on share one decision, so that they fall off geometrically.
        """
        last = MAGNITUDES - 1
        stop = torch.bincount(size.clamp(max=last).long(), minlength=last + 1)[1:].to(size.dtype)
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
    if taps < 2:
        return 1, 0
    if len(shape) > 2:
        return channels, (shape[2] if len(shape) > 3 else 1)
    side = math.isqrt(taps)
    return channels, (side if side * side == taps else 1)
