"""Units that are removed one after the other while a network trains.

Which units are dead is a bool array over `Plan`'s units. Both functions here need the network's
numbers for no more than one call, so that a training loop keeps that array alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .axes import Axes
from .evaluate import Evaluation
from .ir import Graph, Node, Ref
from .network import GraphNetwork, parameters_of
from .removal import Plan

Kept = tuple[np.ndarray | None, ...]  # for each axis the positions that are left, None for all


@dataclass(frozen=True)
class Alive:
    """What is left of a network.

    :param graph: the network without its dead units.
    :param kept: for each parameter by its name, for each of its axes, the positions that are left
        (int64), or None for all.
    """

    graph: Graph
    kept: dict[str, Kept]


def count_units(network: GraphNetwork) -> int:
    """How many units there are, those that can never be removed included."""
    return len(Axes(Evaluation(network)).units)


def without(network: GraphNetwork, dead: np.ndarray) -> Alive:
    """The graph without the given units, whatever the network's numbers.

    :param dead: bool, shape (units,); no axis may lose all of its units.
    """
    return _Given(network, dead).alive()


def dead_units(network: GraphNetwork, before: np.ndarray) -> np.ndarray:
    """Which units are zero or not read, bool, shape (units,).

    :param network: the numbers between units that were removed earlier count as zeros.
    :param before: units that were removed earlier; they stay so.
    :returns: a copy of `before` if the network's outputs do not depend on its inputs any more for
        want of live units. At least one position of every axis stays.
    """
    if before.any():
        network = _emptied(network, before)
    plan = _Later(network, before)
    return before.copy() if plan.is_dead() else plan.dead


def _emptied(network: GraphNetwork, dead: np.ndarray) -> GraphNetwork:
    """The network with zeros in the place of all numbers of dead units."""
    kept, tensors = without(network, dead).kept, {}
    for name, tensor in parameters_of(network):
        tensors[name] = masked(tensor.detach(), kept[name])
    return GraphNetwork(network.graph, tensors)


def masked(tensor: Tensor, kept: Kept) -> Tensor:
    """The tensor with zeros in all positions that are not kept."""
    for axis, places in enumerate(kept):
        if places is not None:
            index = torch.from_numpy(places).to(tensor.device)
            part = tensor.index_select(axis, index)
            tensor = torch.zeros_like(tensor).index_copy_(axis, index, part)
    return tensor


class _Given(Plan):
    """A plan whose dead units are given."""

    def __init__(self, network: GraphNetwork, dead: np.ndarray) -> None:
        self._given, self._network = dead, network
        super().__init__(network, zeros_only=True)

    def _find_dead(self, zeros_only: bool) -> np.ndarray:
        return self._given

    def _taken_in(self) -> Mapping[Node, Tensor]:
        return {}  # what is dead is zero, or is to be taken as zero

    def alive(self) -> Alive:
        kept = {}
        for node in self.graph.parameters:
            parts = self.kept(Ref(node))
            kept[node.name] = tuple(None if p is None else np.flatnonzero(p) for p in parts)
        return Alive(self.reduced(self._network).network.graph, kept)


class _Later(Plan):
    """A plan that removes further units."""

    def __init__(self, network: GraphNetwork, before: np.ndarray) -> None:
        self._before, self._ran_out = before, False
        super().__init__(network, zeros_only=True)

    def _keep_one(self, dead: np.ndarray) -> None:
        dead |= self._before
        super()._keep_one(dead)

    def _survivor(self, ids: np.ndarray) -> int:
        """As in `Plan`, but a unit that was removed earlier does not come back if others can."""
        self._ran_out = True
        return ids[np.argmin(self._before[ids])]

    def is_dead(self) -> bool:
        """Whether an axis would have lost all its units, and the outputs with it."""
        facts = [self.facts.fact(ref) for ref in self.graph.output_refs()]
        return self._ran_out and all(fact is not None and bool(fact.known.all()) for fact in facts)
