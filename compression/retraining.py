"""Retraining the weights that survive pruning, once for each setting that a search tries.

The first setting of a pruned network is retrained in full. Later settings start from the weights
of that retraining, and so need only a share of its updates, `WARM`.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .archive import Quantised
from .reduce import Places
from .refine import retrain_survivors
from .rounding import biases_of, with_values
from .weights import Weights

if TYPE_CHECKING:
    from .search import Pruned, Trial

WARM = 0.3


def share_of(trial: "Trial", pruned: "Pruned") -> float:
    """The share of a retraining's updates that a setting of a pruned network needs."""
    return WARM if pruned.threshold in trial.starts else 1.0


def retrained(
    trial: "Trial", pruned: "Pruned", codes: dict[str, Quantised], share: float
) -> "Pruned":
    """The weights that are not 0 in `codes`, as floats again, retrained with the biases.

    The first call for a threshold sets its entry of `trial.starts`.

    :param share: of the updates; see `share_of`.
    """
    start = trial.starts.get(pruned.threshold)
    weights = {
        name: replace(part, kept=codes[name].codes != 0) for name, part in pruned.weights.items()
    }
    net = with_values(pruned.net, start or {})
    left, places = trial.without(pruned.threshold, net, weights)
    free = {name: part for name, part in left.weights.items() if name not in trial.own}
    kept = {name: part.kept for name, part in free.items()}
    better = retrain_survivors(left.net, kept, biases_of(left.net), trial.matching, share)
    values = {name: better[name].double().numpy() for name in kept}
    if start is None:
        trial.starts[pruned.threshold] = {
            name: spread(value, pruned.weights[name].values, kept[name], places.get(name))
            for name, value in values.items()
        }
    weights = left.weights | {
        name: Weights(values[name], part.stddev, part.kept) for name, part in free.items()
    }
    return replace(left, net=with_values(left.net, better), weights=weights)


def spread(
    values: np.ndarray, whole: np.ndarray, kept: np.ndarray, places: Places | None
) -> np.ndarray:
    """A copy of `whole` with other values in those of its entries that are left and kept.

    :param values: of a tensor after removal, shape that of `kept`.
    :param places: for each axis of `whole` the positions left, or None for all; None: all axes.
    """
    axes = [
        np.arange(length) if chosen is None else chosen
        for length, chosen in zip(whole.shape, places or (None,) * whole.ndim, strict=True)
    ]
    result = whole.copy()
    result[np.ix_(*axes)] = np.where(kept, values, whole[np.ix_(*axes)])
    return result
