"""How dense a quantised tensor's rows and columns are, and how large its levels: a code's tables.

A static version of what the range coder learns as it goes (docs/format.md). The log odds of a
nonzero level are a sum over its row, its column, its channel and the numbers of nonzeros among the
neighbours coded before it; those of its sign a sum over its row and the neighbours' signs. Each of
these tables has a Gaussian prior whose precision is the coder's stiffness, and is put at its mode
for the levels at hand. Magnitudes go by counts plus 1/2.

The coder has to learn all that from the file, which costs bits. Here these are `own_nats`: for log
odds the negative log evidence of the tables by Laplace's approximation, with a diagonal Hessian,
less the price of the levels at the mode (columns of images as if those around were known); for
counts the Krichevsky-Trofimov code less the same.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad, softplus

from ..distributions.lattice import Lattice
from ..graph.lenders import Layout
from .lending import as_matrix

# Precisions of the tables' priors, those of the coder.
STIFFNESS = {
    "common": 0.8, "row": 5.0, "column": 7.0, "channel": 1.5, "near": 1.2, "far": 3.5,
    "sign": 1.0, "sign_row": 20.0, "sign_near": 0.35,
}  # fmt: skip
# Prior means: log odds of a nonzero level, what each neighbour adds to them, nearest or beyond; and
# what each neighbour's sign adds to those of +.
DENSITY, NEAR, FAR, SIGN_NEAR, SIGN_FAR = -2.0, 0.7, 0.1, 1.8, 0.3
AROUND = 0.9  # a column's prior mean over the mean of the 8 around it
DEGREE = 0.8  # log odds that the log weights of a column's unit add
MAGNITUDES = 16  # with a price of their own; beyond them it rises by as much for each
SWEEPS = 4  # of Newton's method over the tables at each refresh, from where they were
LARGEST_MOVE = 2.0  # of a table's entry in one of its steps, nats
REMOVED = 14.0  # nats of a nonzero level where a unit has been removed
BEFORE = ((0, -1), (-1, 0), (-1, -1), (-1, 1))  # (lines, places) to the neighbours coded before
BEYOND = ((0, -2), (-2, 0), (-1, -2), (-1, 2), (-2, -1), (-2, 1), (-2, -2), (-2, 2))


class Densities(nn.Module):
    """The tables of one weight tensor's prior, all of them buffers.

    :param like: a tensor of the weight's shape and dtype.
    :param layout: what its rows and columns are, and which columns are neighbours, as in the coder.
    """

    def __init__(self, like: Tensor, layout: Layout):
        super().__init__()
        self.layout = layout
        self.rows, self.columns = as_matrix(like, layout).shape
        spatial = layout.lines * layout.width > 1
        self.channels, self.lines = (layout.channels, layout.lines) if spatial else (1, 0)
        sizes = {"common": 1, "row": self.rows, "column": self.columns}
        signs = {"sign": 1, "sign_row": self.rows}
        if self.lines:
            sizes |= {"near": 10, "far": 5}
            signs |= {"sign_near": 25}
        if self.lines and self.channels > 1:
            sizes["channel"] = self.channels
        self.tables, self.sign_tables = tuple(sizes), tuple(signs)
        for name, size in {**sizes, **signs}.items():
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
    def refresh(
        self,
        levels: Tensor,
        rows: Tensor | None = None,
        columns: Tensor | None = None,
        degree: Tensor | None = None,
    ) -> None:
        """Fit the tables to the tensor's levels (whole numbers, its shape); in place.

        :param rows: which rows have not been removed, bool, shape (rows,); default all.
        :param columns: likewise, shape (columns,).
        :param degree: log of how many weights the unit behind each column has, over their mean,
            shape (columns,), see `lending.Lending`; default zeros.
        """
        matrix = as_matrix(levels.to(self.sides.dtype), self.layout)
        rows = _chosen(rows, self.rows, matrix)[:, None]
        columns = _chosen(columns, self.columns, matrix)
        offset = 0.0 if degree is None else DEGREE * degree[columns]
        living, places = matrix[rows, columns], self._places(matrix, rows, columns)
        there = (living != 0).to(living)
        everywhere = torch.ones_like(there)
        log_odds, spent = self._fit(self.tables, places, there, everywhere, offset)
        plus, learning = self._fit(self.sign_tables, places, (living > 0).to(living), there)
        present = softplus(-log_odds)
        absent = -math.log1p(-2 * math.exp(-REMOVED))
        removed = matrix.new_tensor([REMOVED, absent, REMOVED])
        sides = removed[:, None, None].repeat(1, self.rows, self.columns)
        sides[:, rows, columns] = torch.stack(
            [present + softplus(plus), softplus(log_odds), present + softplus(-plus)]
        )
        swapped = self.sides.transpose(1, 2) if self.layout.swapped else self.sides
        swapped.copy_(sides.reshape(swapped.shape))
        self.own_nats.copy_(spent + learning + self._fit_magnitudes(living.abs().flatten()))

    def _places(self, matrix: Tensor, rows: Tensor, columns: Tensor) -> dict[str, Tensor]:
        """Which entry of each table each weight uses: int64, of a shape that expands to theirs."""
        none = torch.zeros_like(columns)
        channel = columns // (self.columns // self.channels)
        places = {"common": none, "row": rows, "column": columns, "channel": channel}
        places |= {"sign": none, "sign_row": rows}
        if self.lines:
            # Of a file without the removed channels, where those around close up.
            living = self._whole_channels(columns)
            matrix = matrix[:, columns] if living else matrix
            there, signs, count = (matrix != 0).to(matrix), matrix.sign(), living or self.channels
            around, beyond = (self._before(there, of, count) for of in (BEFORE, BEYOND))
            near, far = (self._before(signs, of, count).clamp(-2, 2) + 2 for of in (BEFORE, BEYOND))
            known = around + 5 * _channel_before(there, count)
            states = {"near": known, "far": beyond.clamp(max=4), "sign_near": 5 * near + far}
            for name, state in states.items():
                places[name] = (state[rows[:, 0]] if living else state[rows, columns]).long()
        return places

    def _whole_channels(self, columns: Tensor) -> int:
        """How many channels the columns make up, 0 if they leave parts of channels out."""
        taps = self.columns // self.channels
        of_each = torch.bincount(columns // taps, minlength=self.channels)
        whole = bool(((of_each == 0) | (of_each == taps)).all())
        return int((of_each == taps).sum()) if whole else 0

    def _fit(
        self,
        tables: tuple[str, ...],
        places: dict[str, Tensor],
        yes: Tensor,
        counted: Tensor,
        offset: Tensor | float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """Newton's method on one table after the other; the Hessian of each is diagonal.

        :param yes: 0 or 1, what the log odds are of; counted where `counted` is 1 and not 0.
        :returns: log odds of each entry, and the nats of the tables.
        """
        total = offset + sum(getattr(self, name)[places[name]] for name in tables)
        for _ in range(SWEEPS):
            spent = yes.new_zeros(())
            for name in tables:
                table = getattr(self, name)
                p = torch.sigmoid(total)
                error, information = counted * (yes - p), counted * p * (1 - p)
                sums = [_sum(part, places[name], len(table)) for part in (error, information)]
                before = table[places[name]]
                spent += self._newton(name, *sums)
                total = total + (table[places[name]] - before)
        return total, spent

    def _newton(self, name: str, gain: Tensor, information: Tensor) -> Tensor:
        """One step of a table; returns what it costs: its prior and its evidence's curvature."""
        table, stiffness, mean = getattr(self, name), STIFFNESS[name], self._mean(name)
        move = (gain - stiffness * (table - mean)) / (information + stiffness)
        table.add_(move.clamp(-LARGEST_MOVE, LARGEST_MOVE))
        price = stiffness * (table - mean).square() + torch.log1p(information / stiffness)
        return 0.5 * price.sum()

    def _mean(self, name: str) -> Tensor | float:
        """The prior mean of a table."""
        state = torch.arange(25, device=self.common.device)
        if name == "common":
            return DENSITY
        if name == "near":
            return NEAR * (state[:10] % 5)
        if name == "far":
            return FAR * state[:5]
        if name == "sign_near":
            return SIGN_NEAR * (state // 5 - 2) + SIGN_FAR * (state % 5 - 2)
        if name != "column" or not self.lines:
            return 0.0
        kernel = self.column.new_full((1, 1, 3, 3), AROUND / 8)
        kernel[0, 0, 1, 1] = 0
        field = self.column.reshape(self.channels, 1, self.lines, -1)
        return conv2d(field, kernel, padding=1).reshape(-1)

    def _before(self, matrix: Tensor, steps: tuple[tuple[int, int], ...], channels: int) -> Tensor:
        """Of each entry, the sum over those so many lines and places from it, in its channel."""
        maps = matrix.reshape(self.rows, channels, self.lines, -1)
        lines, width = maps.shape[2:]
        framed = pad(maps, (2, 2, 2, 0))
        total = sum(framed[..., 2 + y : 2 + y + lines, 2 + x : 2 + x + width] for y, x in steps)
        return total.reshape(matrix.shape)

    def _fit_magnitudes(self, size: Tensor) -> Tensor:
        """Magnitudes in unary: each decision is to stop or to go on, the last one for all after.

        Magnitudes from MAGNITUDES - 1 on share one decision, so that they fall off geometrically.
        """
        last = MAGNITUDES - 1
        stop = torch.bincount(size.clamp(max=last).long(), minlength=last + 1)[1:].to(size.dtype)
        go = stop.flip(0).cumsum(0).flip(0) - stop
        go[-1] = (size - last).clamp(min=0).sum()
        decisions = torch.stack([stop, go], 1)
        more = decisions + 0.5
        nats = more.sum(-1, keepdim=True).log() - more.log()
        before = torch.cat([nats.new_zeros(1), nats[:, 1].cumsum(0)])
        self.magnitude[1:-1].copy_(before[:-1] + nats[:, 0])
        self.magnitude[-1].copy_(before[-1] + nats[-1, 0])
        return _learning(decisions, nats)


def _channel_before(matrix: Tensor, channels: int) -> Tensor:
    """Of each entry, the same place of the channel before; 0 in the first."""
    maps = matrix.reshape(len(matrix), channels, -1)
    return pad(maps, (0, 0, 1, 0))[:, :-1].reshape(matrix.shape)


def _chosen(which: Tensor | None, count: int, like: Tensor) -> Tensor:
    """The numbers of the chosen ones, of all for None."""
    if which is None:
        return torch.arange(count, device=like.device)
    return which.nonzero()[:, 0]


def _sum(part: Tensor, place: Tensor, size: int) -> Tensor:
    """Sums of `part`, a matrix, over the entries that share a place, shape (size,)."""
    if place.dim() == 1:
        part = part.sum(0)
    elif place.shape[1] == 1:
        part = part.sum(1)
    total = part.new_zeros(size)
    return total.index_add_(0, place.flatten(), part.flatten())


def _learning(counts: Tensor, nats: Tensor) -> Tensor:
    """What decisions cost under Krichevsky and Trofimov's adaptive code more than under `nats`."""
    n = counts.double()
    code = torch.lgamma(n.sum(-1) + 1) - (torch.lgamma(n + 0.5) - math.lgamma(0.5)).sum(-1)
    return (code.sum() - (n * nats).sum()).to(nats.dtype)
