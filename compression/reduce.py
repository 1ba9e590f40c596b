"""Dead units really removed, and what follows from it: the same function from smaller tensors.

1. Units that make no difference are removed (`graph.remove_units`).
2. Biases that the next layer can say are folded into its own (`graph.fold_shifts`).
3. Inputs of dense layers that nothing reads are left out by a `pick`, if that saves bits.
"""

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..graph import GraphNetwork, fold_shifts, pick_inputs, remove_units

PICK_BITS = 48  # what a pick costs in a file besides its choice: its place, a length, a flush

Places = tuple[np.ndarray | None, ...]  # of a tensor, for each axis: the positions left, or all


@dataclass(frozen=True)
class Reduced:
    """A smaller network, and where its weights come from.

    :param net: computes what the original computes; shares no tensor with it.
    :param kept: for each tensor that lost something, by its name (the same in both networks), the
        positions of each axis that are left.
    """

    net: GraphNetwork
    kept: dict[str, Places]


def reduce(net: GraphNetwork) -> Reduced:
    """The network without its dead units. The original is not changed."""
    removed = remove_units(net)
    picked = pick_inputs(fold_shifts(removed.network), _pays)
    kept = dict(removed.kept)
    for name, places in picked.kept.items():
        kept[name] = _composed(kept.get(name, (None,) * len(places)), places)
    return Reduced(picked.network, kept)


def _composed(first: Places, second: Places) -> Places:
    """The positions of the original that are left after both."""
    return tuple(
        a if b is None else b if a is None else a[b] for a, b in zip(first, second, strict=True)
    )


def _pays(weight: Tensor, read: Tensor) -> bool:
    """Whether a choice of inputs costs less than the zeros that it saves, about."""
    outputs, before = weight.shape
    after, ones = int(read.sum()), int(weight.ne(0).sum())
    saved = _bits(outputs * before, ones) - _bits(outputs * after, ones)
    return saved > _bits(before, after) + PICK_BITS


def _bits(count: int, ones: int) -> float:
    """The entropy [bits] of `ones` among `count` symbols, taken as independent."""
    p = ones / count
    return 0.0 if p in (0, 1) else -count * (p * math.log2(p) + (1 - p) * math.log2(1 - p))
