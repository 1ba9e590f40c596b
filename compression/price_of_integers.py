"""What each integer of a weight tensor costs in the file, before the file is written.

The range coder learns its probabilities as it goes, so that a bit has no fixed price. Here the same
model is fitted to all integers of a tensor at once (`fit`), and its code lengths are held fixed
while a quantizer chooses new integers. The log odds that an integer is nonzero are a sum over
tables: one entry for all, one each for its row, column and channel, and one each for the number of
nonzeros among its near and its far neighbours. Each table is at its posterior mode under Gaussian
priors with the coder's means and precisions (context.py). Signs and magnitudes go by counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from .context import DENSITY, FAR, NEAR, STIFFNESS
from .geometry import Geometry
from .kernels import AROUND, FAR_STATES, NEAR_STATES

MAGNITUDES = 16  # with a price of their own; each one beyond costs as much more as the last
SWEEPS = 3  # over the tables; they start at their prior means
LARGEST_MOVE = 2.0  # of a table's entry in one sweep, nats
STRIP = 1 << 22  # neighbours looked up at a time
NATS_PER_BIT = 0.6931471805599453


@dataclass(frozen=True)
class Prices:
    """Code lengths [bits] of the integers of a matrix.

    :param zero: of the integer 0 in each place, shape (rows, columns).
    :param other: of any other integer, its sign and magnitude left out, of the same shape.
    :param magnitude: of each magnitude with its sign, shape (`MAGNITUDES` + 1,); entry 0 is 0.
    """

    zero: Tensor
    other: Tensor
    magnitude: Tensor

    def bits(self, codes: Tensor) -> Tensor:
        """The code length of each integer, shape (rows, columns)."""
        return torch.where(codes == 0, self.zero, self.other + self.of_magnitude(codes))

    def of_magnitude(self, codes: Tensor) -> Tensor:
        """The code length of sign and magnitude of nonzero integers, 0 for 0; any shape."""
        size = codes.abs()
        beyond = (size - MAGNITUDES).clamp(min=0)
        rise = self.magnitude[-1] - self.magnitude[-2]
        return self.magnitude[size.clamp(max=MAGNITUDES).long()] + beyond * rise


def flat_prices(rows: int, columns: int, density: float = 0.5) -> Prices:
    """Prices before any integer is known: geometric magnitudes, every place the same."""
    ones = torch.ones(rows, columns)
    magnitude = 1.0 + torch.arange(MAGNITUDES + 1.0)
    magnitude[0] = 0.0
    zero, other = -np.log2(1 - density), -np.log2(density)
    return Prices(ones * zero, ones * other, magnitude)


@torch.no_grad()
def fit(codes: Tensor, geometry: Geometry) -> Prices:
    """The prices that the coder's model comes to on a matrix of integers.

    :param codes: integers of any dtype, shape (rows, columns), in the order in which the coder
        takes them: rows are output units, columns input channels by kernel positions.
    :param geometry: which columns are neighbours; see `geometry.Geometry`.
    """
    there = codes != 0
    places = _places(there, geometry)
    log_odds = _fitted(there.float(), places)
    other, zero = softplus(-log_odds) / NATS_PER_BIT, softplus(log_odds) / NATS_PER_BIT
    return Prices(zero, other, magnitudes(codes[there]))


def _places(there: Tensor, geometry: Geometry) -> list[tuple[Tensor, Tensor, float]]:
    """For each table: the entry that each weight uses, prior means, and prior precision."""
    rows, columns = there.shape
    row, column = torch.arange(rows)[:, None], torch.arange(columns)
    common = torch.zeros(columns, dtype=torch.int64)
    tables = [
        (common, torch.tensor([DENSITY["weight"]]), STIFFNESS["all"]),
        (row, torch.zeros(rows), STIFFNESS["row"]),
        (column, torch.zeros(columns), STIFFNESS["col"]),
    ]
    if geometry.spatial:
        near, far = _neighbours(there, geometry)
        states = torch.arange(float(NEAR_STATES)) % 5
        tables += [
            (near, NEAR * states, STIFFNESS["near"]),
            (far, FAR * torch.arange(float(FAR_STATES)), STIFFNESS["far"]),
        ]
        if geometry.groups > 1:
            group = torch.from_numpy(geometry.group.astype(np.int64))
            tables.append((group, torch.zeros(geometry.groups), STIFFNESS["group"]))
    return tables


def _neighbours(there: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """The states of the near and of the far neighbours of each weight; see `kernels.positions`."""
    rows, columns = there.shape
    around = torch.from_numpy(geometry.around.astype(np.int64))
    flags = torch.cat([there, there.new_zeros(rows, 1)], 1).to(torch.uint8)
    near, far = torch.empty(2, rows, columns, dtype=torch.int64)
    strip = max(STRIP // (columns * AROUND), 1)
    for first in range(0, rows, strip):
        part = flags[first : first + strip]
        near[first : first + strip] = part[:, around[:, :4]].sum(2) + 5 * part[:, around[:, 16]]
        far[first : first + strip] = part[:, around[:, 8:16]].sum(2).clamp(max=FAR_STATES - 1)
    return near, far


def _fitted(there: Tensor, tables: list[tuple[Tensor, Tensor, float]]) -> Tensor:
    """The log odds of each place: Newton's method, one table after the other."""
    values = [mean.clone() for _, mean, _ in tables]
    log_odds = sum(value[places] for value, (places, _, _) in zip(values, tables, strict=True))
    log_odds = log_odds.expand(there.shape).clone()
    for _ in range(SWEEPS):
        for value, (places, mean, stiffness) in zip(values, tables, strict=True):
            p = log_odds.sigmoid()
            slope = _summed(there - p, places, len(value)) - stiffness * (value - mean)
            curvature = _summed(p * (1 - p), places, len(value)) + stiffness
            move = (slope / curvature).clamp(-LARGEST_MOVE, LARGEST_MOVE)
            value += move
            log_odds += move[places]
    return log_odds


def _summed(numbers: Tensor, places: Tensor, size: int) -> Tensor:
    """Sums over the weights that use each entry of a table."""
    if places.dim() == 1:  # an entry for each column
        numbers = numbers.sum(0)
    elif places.shape[1] == 1:  # an entry for each row
        numbers = numbers.sum(1)
    return torch.zeros(size).index_add_(0, places.reshape(-1), numbers.reshape(-1))


def magnitudes(codes: Tensor) -> Tensor:
    """Bits of each magnitude and its sign, by counts plus 1/2, signs together."""
    size = codes.abs().clamp(max=MAGNITUDES).long()
    counts = torch.bincount(size, minlength=MAGNITUDES + 1)[1:].float() + 0.5
    bits = 1 - (counts / counts.sum()).log2()
    return torch.cat([torch.zeros(1), torch.cummax(bits, 0).values])
