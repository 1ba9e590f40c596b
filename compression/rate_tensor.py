"""One weight tensor through the rate-distortion quantizer: its matrix, its step, its grid."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..graph.products import as_matrix, from_matrix
from .archive import MAX_LEVELS, Quantised, Uniform, storable
from .geometry import flat_geometry, kernel_geometry
from .price_of_integers import Prices, fit
from .rate_distortion import independent, quantize, step_for

DAMPING = 0.01  # of the mean square of a layer's inputs, added to all of them
SCARCE = 0.25  # the same for each column that there is to one input vector
WIDE = 2_304  # columns whose correlations are kept; wider matrices are quantized in slices
COARSEST = 4.0  # of the largest weight: a step beyond which every integer is 0


class RateTensor:
    """A weight on its way to integers of one step.

    :param weight: at least two axes.
    :param groups: of the weight's matrix, and `transposed`: see `graph.products.as_matrix`.
    """

    def __init__(self, weight: Tensor, groups: int = 1, transposed: bool = False) -> None:
        self.matrix = as_matrix(weight.float(), groups, transposed).contiguous()
        self.shape, self.transposed = weight.shape, transposed
        self.taps = math.prod(weight.shape[2:])
        self.codes, self.step = torch.zeros_like(self.matrix), 0.0
        self._now = self.matrix.clone()  # with the columns that are quantized as they are then

    def slices(self) -> list[slice]:
        """The columns in parts of at most about `WIDE`, each of whole kernels."""
        columns = self.matrix.shape[2]
        size = max(WIDE // self.taps, 1) * self.taps
        return [slice(first, min(first + size, columns)) for first in range(0, columns, size)]

    def value(self) -> Tensor:
        """The weight, the columns that have integers already as these say."""
        return from_matrix(self._now, self.shape, self.transposed)

    def follow(
        self,
        part: slice,
        second: Tensor,
        cross: Tensor,
        importance: Tensor,
        rate: float,
        vectors: float = math.inf,
    ) -> None:
        """Quantize some columns so that the outputs follow others.

        :param second: A of `rate_distortion` for one input vector, not yet damped.
        :param cross: the moments of what the outputs lack with the inputs, shape
            (groups, units, columns).
        :param vectors: how many input vectors the moments are of. The fewer, the more they are
            damped: directions that they do not show would seem to be free.
        """
        second = damped(second, DAMPING + SCARCE * second.shape[1] / vectors)
        root = torch.linalg.cholesky(second)
        change = torch.cholesky_solve(cross.mT, root).mT
        self._put(part, self.matrix[:, :, part] + change, second, root, importance, rate)

    def _rows(self, importance: Tensor) -> Tensor:
        """The importance of each row of the matrix, (groups, rows); of all together, (1, 1)."""
        shape = self.matrix.shape[:2]
        each = importance.numel() == shape.numel()
        return (importance.view(shape) if each else importance.mean().view(1, 1)).float()

    def put(
        self, part: slice, target: Tensor, second: Tensor, importance: Tensor, rate: float
    ) -> None:
        """Quantize some columns. The first ones that come determine the step.

        :param target: the weights to come near to, shape (groups, units, columns of the part).
        :param second: A of `rate_distortion`, not yet damped, or its diagonal.
        """
        second = damped(second.float())
        root = torch.linalg.cholesky(second) if second.dim() == 3 else None
        self._put(part, target, second, root, importance, rate)

    def _put(
        self,
        part: slice,
        target: Tensor,
        second: Tensor,
        root: Tensor | None,
        importance: Tensor,
        rate: float,
    ) -> None:
        importance = self._rows(importance)
        if not self.step:
            self.step = self._step(step_for(second, importance, rate, root))
        given = target, second, importance, self.step, rate, self._prices
        codes = independent(*given) if root is None else quantize(*given, root=root)
        codes = codes.clamp(-MAX_LEVELS, MAX_LEVELS)
        self.codes[:, :, part], self._now[:, :, part] = codes, codes * self.step

    def quantised(self) -> Quantised:
        """The integers and their grid."""
        codes = from_matrix(self.codes, self.shape, self.transposed)
        return Quantised(codes.numpy().astype(np.int32), Uniform(self.step))

    def _step(self, wanted: float) -> float:
        largest = float(self.matrix.abs().max()) or 1.0
        step = min(max(wanted, 4 * largest / MAX_LEVELS, 2.0**-100), COARSEST * largest)
        return float(storable(step))

    def _prices(self, codes: Tensor) -> Prices:
        columns = codes.shape[2]
        if self.taps > 1:
            geometry = kernel_geometry(columns // self.taps, tuple(self.shape[2:]))
        else:
            geometry = flat_geometry(columns, columns)
        return fit(codes.flatten(0, 1), geometry)


def damped(second: Tensor, share: float = DAMPING) -> Tensor:
    """Second moments with a share of their mean diagonal added to the diagonal.

    :param second: (groups, columns, columns), or only the diagonal, (groups, columns).
    """
    diagonal = second if second.dim() == 2 else second.diagonal(dim1=1, dim2=2)
    added = (share * diagonal.mean(1)).clamp(min=1e-12)
    if second.dim() == 2:
        return second + added[:, None]
    return second + torch.diag_embed(added[:, None].expand_as(diagonal))
