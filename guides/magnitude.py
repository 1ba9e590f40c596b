"""Magnitude pruning (Han, Pool, Tran and Dally 2015): prune the smallest, retrain, repeat."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..posterior import Posterior, WeightPosterior
from .mean_field import PointMass


def least_left(weight: Tensor) -> int:
    """The fewest weights that a layer keeps: one for each of its inputs and outputs.

    :param weight: shape `(outputs, inputs, ...)`; of other tensors each axis 0 counts as outputs.
    """
    return min(weight.numel(), sum(weight.shape[:2]))


def largest(sizes: Mapping[str, Tensor], left: int) -> dict[str, Tensor]:
    """Which of all entries are kept, bool: each layer's `least_left`, then the largest of the rest.

    :param left: how many are kept; the sum of what layers keep at least if that is more.
    """
    kept = {}
    for name, size in sizes.items():
        top = size.flatten().topk(least_left(size)).values
        kept[name] = size >= top[-1] if len(top) else torch.ones_like(size, dtype=torch.bool)
    others = torch.cat([size[~kept[name]] for name, size in sizes.items()])
    more = min(left - sum(int(part.sum()) for part in kept.values()), len(others))
    if more <= 0:
        return kept
    cut = others.topk(more).values[-1]
    return {name: kept[name] | (size >= cut) for name, size in sizes.items()}


def relative_sizes(points: Mapping[str, Tensor], per_layer: bool) -> dict[str, Tensor]:
    """|w| over the root mean square of what is not 0 in the layer, or in all layers."""
    squares = {name: point.square().sum() for name, point in points.items()}
    counts = {name: point.count_nonzero() for name, point in points.items()}
    if not per_layer:
        squares = dict.fromkeys(points, sum(squares.values()))
        counts = dict.fromkeys(points, sum(counts.values()))
    return {
        # A layer of zeros only has no size to divide by.
        name: point.abs() * (counts[name] / squares[name].clamp(min=1e-30)).sqrt()
        for name, point in points.items()
    }


class MagnitudePruned(PointMass):
    """A point for each weight, the smallest of which are pruned before each round of training.

    Before round k of K the share `kept ** ((k + 1) / K)` of all weights is left: those of largest
    |w| / scale. Each layer keeps at least as many as it has inputs and outputs, so that none is
    emptied, and small networks keep a larger share. A pruned weight is 0 from then on. Nothing is
    frozen: all weights that are left, and the point parameters, are retrained together (Han et al.
    froze the convolutions while they retrained the dense layers, and the other way round).

    :param model: a model of `bitsback.models`; the points start at its network's weights.
    :param kept: the share of weights left after the last round, within (0, 1]; see above for
        small networks.
    :param rounds: K; 1 is one-shot pruning.
    :param per_layer: scale is the root mean square of what is left of the layer (Han's threshold,
        a multiple of the layer's standard deviation); False: that of all layers, so that size
        alone counts.
    :raises ValueError: for a share or a number of rounds out of range.
    """

    def __init__(
        self, model: nn.Module, kept: float = 0.05, rounds: int = 1, per_layer: bool = False
    ):
        super().__init__(model)
        if not 0 < kept <= 1:
            raise ValueError(f"kept, a share of the weights, must be within (0, 1]; got {kept}")
        if rounds < 1:
            raise ValueError(f"rounds must be at least 1; got {rounds}")
        self.kept, self.rounds, self.per_layer = kept, rounds, per_layer
        ones = {name: torch.ones_like(v) for name, v in model.initial_weights().items()}
        self._add("mask", ones, trained=False)

    def point(self, name: str) -> Tensor:
        return self._get("loc", name) * self._get("mask", name)

    @torch.no_grad()
    def before_round(self, number: int) -> None:
        """Prune to the share of this round; in place, so that the state_dict has it all."""
        sizes = relative_sizes(self.median(), self.per_layer)
        total = sum(size.numel() for size in sizes.values())
        left = math.ceil(total * self.kept ** ((number + 1) / self.rounds))
        for name, kept in largest(sizes, left).items():
            self._get("mask", name).mul_(kept)
            self._get("loc", name).mul_(self._get("mask", name))

    @torch.no_grad()
    def moments(self, *args, **kwargs) -> Posterior:
        """Points, stddev 0, inclusion 0 for pruned weights; log_alpha is -2 log(|w| / scale).

        A point has no dropout rate. This score stands in its place, so that a threshold on it
        prunes by size: the threshold t prunes |w| < scale * exp(-t / 2).
        """
        sizes = relative_sizes(self.median(), self.per_layer)
        return Posterior(
            {
                name: WeightPosterior(
                    loc=point.clone(),
                    stddev=torch.zeros_like(point),
                    inclusion=self._get("mask", name).clone(),
                    log_alpha=-2 * sizes[name].log(),
                )
                for name, point in self.median().items()
            }
        )
