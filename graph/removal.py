"""Which units a network can do without, and the graph without them.

A unit can go if everywhere it stands it is a constant that all its readers can take into their
biases, or is read by nobody. That is one rule for hidden units, feature maps, channels of a
residual stream, parts of a concatenation, pairs of a depthwise convolution, attention heads and
recurrent units. At least one position of every axis stays. The network's outputs keep their values
up to the float rounding of the biases that have taken constants in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from .axes import Axes
from .evaluate import Evaluation
from .facts import Contraction, Facts
from .ir import INPUT, PARAMETER, Graph, Node, Ref
from .network import GraphNetwork, parameters_of
from .operators import Family
from .resize import resize
from .summed_axes import inner_axes, zeros_of
from .table import OPERATORS


@dataclass(frozen=True)
class Reduction:
    """A network without its dead units.

    :param network: computes what the original computes; shares no tensor with it.
    :param kept: for each parameter that lost something, by its name: for each of its axes the
        positions that are left (int64), or None for all.
    :param units: how many units were removed.
    """

    network: GraphNetwork
    kept: dict[str, tuple[np.ndarray | None, ...]]
    units: int


def remove_units(network: GraphNetwork, zeros_only: bool = False) -> Reduction:
    """The network without the units that make no difference; the original is not changed.

    Of what is left nothing more can be removed.

    :param zeros_only: remove only units that are zero or not read, so that no bias changes.
    """
    whole = Plan(network, zeros_only).reduced(network)
    while (plan := _further(whole.network, zeros_only)) is not None:
        whole = _both(whole, plan.reduced(whole.network))
    return whole


def _further(network: GraphNetwork, zeros_only: bool) -> Plan | None:
    """A plan that removes something, if there is one: heads go first, then parts of all heads."""
    plan = Plan(network, zeros_only)
    if not plan.units and plan.axes.units.splits:
        plan = Plan(network, zeros_only, inner=True)
    return plan if plan.units else None


def _both(first: Reduction, second: Reduction) -> Reduction:
    """Two reductions, one after the other, as one."""
    kept = {name: places for name, places in first.kept.items() if name in _names(second.network)}
    for name, places in second.kept.items():
        before = kept.get(name, (None,) * len(places))
        kept[name] = tuple(
            new if old is None else old if new is None else old[new]
            for old, new in zip(before, places, strict=True)
        )
    return Reduction(second.network, kept, first.units + second.units)


def _names(network: GraphNetwork) -> set[str]:
    return {node.name for node in network.graph.parameters}


class Plan:
    """The units of a network, and which of them can go.

    :param network: see `remove_units`.
    :param zeros_only: likewise.
    :param inner: see `Axes`.
    """

    def __init__(
        self, network: GraphNetwork, zeros_only: bool = False, inner: bool = False
    ) -> None:
        evaluation = Evaluation(network)
        self.graph = network.graph
        self._users = self.graph.users()
        self.axes = Axes(evaluation, inner)
        self.facts = Facts(evaluation)
        self._ids = {ref: self.axes.ids(ref) for ref in self.axes.refs()}
        self._contractions = [
            found
            for node in self.graph.operators
            if (found := self.facts.contraction(node)) is not None
        ]
        self.dead = self._find_dead(zeros_only)

    @property
    def units(self) -> int:
        """How many units can go."""
        every = np.arange(len(self.dead))
        return int((self.dead & (self.axes.units.find(every) == every)).sum())

    def kept(self, ref: Ref) -> list[np.ndarray | None]:
        """For each axis of a value which positions stay, bool; None for all."""
        result: list[np.ndarray | None] = []
        for ids in self._ids[ref]:
            stay = None if ids is None else ~self.dead[ids]
            result.append(None if stay is None or stay.all() else stay)
        return result

    def _find_dead(self, zeros_only: bool) -> np.ndarray:
        """Of each unit whether it goes, bool."""
        units = self.axes.units
        count = len(units)
        dead = ~units.is_frozen(np.arange(count))
        seen = np.zeros(count, bool)
        for ref, axes in self._ids.items():
            static = ref.node.operator == PARAMETER or self.facts.evaluation.is_static(ref)
            for axis, ids in enumerate(axes):
                if ids is not None and not static:
                    seen[ids] = True
                    dead[ids[~self.facts.idle(ref, axis).numpy()]] = False
        dead &= seen
        for contraction in self._contractions:
            ids = self._ids[contraction.source][contraction.input_axis]
            if ids is not None:
                dead[ids[self._vetoed(contraction, zeros_only)]] = False
        self._veto_recurrent_inputs(dead)
        self._veto_products(dead)
        self._keep_one(dead)
        return dead

    def _vetoed(self, contraction: Contraction, zeros_only: bool) -> np.ndarray:
        """Inputs of a contraction whose constants it cannot take in, bool."""
        rows = self.facts.read_along(Ref(contraction.node), contraction.output_axis)
        read = (contraction.matrix & rows[:, None]).any(0)
        nonzero = read & ~(contraction.known & contraction.value.eq(0))
        if zeros_only or not self._can_take_bias(contraction.node):
            return nonzero.numpy()
        return (nonzero & ~(contraction.known & contraction.exact)).numpy()

    def _can_take_bias(self, node: Node) -> bool:
        """Whether a node has a bias of its own, or can be given one."""
        if "bias" not in OPERATORS[node.operator].vectors:
            return False
        bias, weight = node.arguments["bias"], node.arguments["weight"]
        if bias is None:
            return weight.node.operator == PARAMETER
        is_output = bias in self.graph.output_refs()
        is_own = bias.node.operator == PARAMETER and self._users[bias.node] == [node]
        return is_own and not is_output

    def _veto_recurrent_inputs(self, dead: np.ndarray) -> None:
        """A recurrent layer takes in no constants but zeros."""
        for node in self.graph.operators:
            if OPERATORS[node.operator].family is Family.RECURRENT:
                source = node.arguments["input"]
                ids, fact = self._ids[source][-1], self.facts.fact(source)
                if ids is not None and fact is not None:
                    known, value = fact.along(-1, len(ids))
                    read = self.facts.read_along(source, -1)
                    dead[ids[(known & value.ne(0) & read).numpy()]] = False

    def _veto_products(self, dead: np.ndarray) -> None:
        """What is summed over can go where one of the factors is zero; constants cannot."""
        linear = {contraction.node for contraction in self._contractions}
        for node in self.graph.operators:
            for factors in inner_axes(node, self.facts.shape) if node not in linear else ():
                zero = torch.stack(zeros_of(self.facts, factors)).any(0).numpy()
                for ref, axis in factors:
                    ids = self._ids[ref][axis]
                    if ids is not None:
                        dead[ids[~zero]] = False

    def _keep_one(self, dead: np.ndarray) -> None:
        """Let the first unit of every axis stay that would lose all; in place."""
        changed = True
        while changed:
            changed = False
            for axes in self._ids.values():
                for ids in axes:
                    if ids is not None and len(ids) and dead[ids].all():
                        dead[self._survivor(ids)] = False
                        changed = True

    def _survivor(self, ids: np.ndarray) -> int:
        """The unit that stays of an axis that would lose all of them."""
        return ids[0]

    def reduced(self, network: GraphNetwork) -> Reduction:
        """The network without the dead units."""
        biases = self._taken_in()
        graph = self.graph.copy()
        renamed = dict(zip(self.graph.nodes, graph.nodes, strict=True))
        for node in self.graph.operators:
            if node.operator != INPUT:
                resize(self, node, renamed[node])
        tensors, kept = {}, {}
        nodes = {node.name: node for node in self.graph.parameters}
        for name, tensor in parameters_of(network):
            node = nodes[name]
            parts = tuple(self.kept(Ref(node)))
            if any(part is not None for part in parts):
                kept[name] = tuple(None if p is None else np.flatnonzero(p) for p in parts)
            tensors[name] = _part(tensor, parts)
        for node, added in biases.items():
            _add_bias(self, node, renamed[node], added, graph, tensors)
        graph.prune()
        names = {node.name for node in graph.parameters}
        kept = {name: places for name, places in kept.items() if name in names}
        return Reduction(network.edited(graph, tensors), kept, self.units)

    def _taken_in(self) -> dict[Node, Tensor]:
        """What dead constant inputs add to the outputs of contractions, float64, by node."""
        found = {}
        for contraction in self._contractions:
            ids = self._ids[contraction.source][contraction.input_axis]
            if ids is None or not self._can_take_bias(contraction.node):
                continue
            gone = torch.from_numpy(self.dead[ids]) & contraction.known & contraction.exact
            if gone.any():
                rows = self.facts.read_along(Ref(contraction.node), contraction.output_axis)
                added = torch.where(rows, contraction.added(gone), 0)
                if added.any():
                    found[contraction.node] = added
        return found


def _part(tensor: Tensor, parts: tuple[np.ndarray | None, ...]) -> Tensor:
    """A copy of what is left of a tensor; an `nn.Parameter` if it was one."""
    part = tensor.detach()
    for axis, stay in enumerate(parts):
        if stay is not None:
            index = torch.from_numpy(np.flatnonzero(stay)).to(part.device)
            part = part.index_select(axis, index)
    part = part.clone()
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(part, tensor.requires_grad)
    return part


def _add_bias(
    plan: Plan, node: Node, new: Node, added: Tensor, graph: Graph, tensors: dict[str, Tensor]
) -> None:
    """Add constants to a node's bias, or give it one."""
    axis = -1 if node.operator == "linear" else 1
    stay = plan.kept(Ref(node))[axis]
    added = added if stay is None else added[torch.from_numpy(stay)]
    bias = new.arguments["bias"]
    weight = tensors[new.arguments["weight"].node.name]
    if bias is None:
        own, weight_name = f"{node.scope}.weight", new.arguments["weight"].node.name
        is_tied = graph.aliases.get(own) == weight_name
        name = bias_name(own if is_tied else weight_name, tensors)
        created = Node(PARAMETER, name=name)
        graph.nodes.insert(graph.nodes.index(new), created)
        new.arguments["bias"] = Ref(created)
        tensors[name] = nn.Parameter(added.to(weight), weight.requires_grad)
        return
    old = tensors[bias.node.name]
    value = (old.detach().double() + added.to(old.device)).to(old.dtype)
    trained = isinstance(old, nn.Parameter)
    tensors[bias.node.name] = nn.Parameter(value, old.requires_grad) if trained else value


def bias_name(weight: str, taken: Mapping[str, Tensor]) -> str:
    """The name of a new bias beside a weight."""
    path, _, leaf = weight.rpartition(".")
    stem = f"{path}." if path else ""
    name = stem + leaf.replace("weight", "bias") if "weight" in leaf else f"{stem}{leaf}_bias"
    while name in taken:
        name += "_"
    return name
