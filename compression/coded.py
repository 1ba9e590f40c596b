"""What the coder knows of each tensor before it writes or reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .nodes import TensorSpec

if TYPE_CHECKING:
    from .architecture import Architecture
    from .graph_architecture import GraphArchitecture


@dataclass(frozen=True)
class Coded:
    """One tensor.

    :param swapped: whether it takes axis 1 for the output units.
    :param lenders: of weights and masks: the places, among the weights, of those whose units are
        the columns; None: the weight before.
    """

    spec: TensorSpec
    swapped: bool = False
    lenders: tuple[int, ...] | None = None

    @property
    def item(self) -> int:
        """Bytes of an element of a raw tensor or a mask; 0 for integers on a grid."""
        own = self.spec.role in ("raw", "mask")
        return np.dtype(self.spec.dtype).itemsize if own else 0


def coded_tensors(
    architecture: Architecture | GraphArchitecture, specs: Sequence[TensorSpec]
) -> list[Coded]:
    """What the coder knows of the tensors of a network."""
    swapped, lenders = architecture.swapped(), architecture.lenders()
    return [Coded(spec, spec.name in swapped, lenders.get(spec.name)) for spec in specs]
