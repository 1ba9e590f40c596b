"""Which weights of a network share the scale or gate of a group, and along which axis groups lie.

Each weight tensor has groups along one axis. In a traced network two tensors may have the same
units there: the layers that write a residual stream have its channels as their outputs. Such a unit
can only be removed from all of them together, so they share one scale for each unit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from ...distributions.groups import group_axis
from ...graph import Axes, Evaluation, Graph, GraphNetwork, Node, Ref
from ...graph.evaluate import BATCH

# Layers that can use one draw of a scale for each example.
_LOCAL = ("linear", "conv1d", "conv2d", "conv3d")


@dataclass(frozen=True)
class Groups:
    """The groups of a network's latent weights.

    :param shapes: of each weight, by name.
    :param axes: the axis that its groups lie along.
    :param owners: the weight whose scale it uses: its own name where it shares none.
    :param whole: owners whose scale must be one draw for the whole batch, because a layer among
        those that share it cannot use one draw for each example.
    """

    shapes: Mapping[str, tuple[int, ...]]
    axes: Mapping[str, int]
    owners: Mapping[str, str]
    whole: frozenset[str]

    def members(self, name: str) -> tuple[str, ...]:
        """All weights that use the same scale as this one, itself included."""
        owner = self.owners[name]
        return tuple(other for other, its in self.owners.items() if its == owner)

    def count(self, name: str) -> int:
        """The number of groups of a weight."""
        return self.shapes[name][self.axes[name]]

    def numbers(self, name: str) -> int:
        """How many weights the scales of a weight tensor speak for, over all that share them."""
        return sum(math.prod(self.shapes[other]) for other in self.members(name))

    def along(self, name: str, values: Tensor) -> Tensor:
        """Values of groups, shape `(groups,)` or `(1,)`, in a shape that broadcasts to the weight.

        Axes before that one, of many draws at once, stay where they are.
        """
        shape = [1] * len(self.shapes[name])
        shape[self.axes[name]] = values.shape[-1]
        return values.reshape(*values.shape[:-1], *shape)


def groups_of(net: nn.Module, weights: Mapping[str, Tensor]) -> Groups:
    """The groups of a network's weights; only those of a `GraphNetwork` share scales.

    Weights share a scale if their units along the group axis are the same ones, position by
    position, and can be removed. Its owner is the first of them in the graph's order. Units that
    overlap in part (concatenations, shortcuts padded with zeros) have scales of their own, and so
    have vectors.

    :param net: not changed.
    :param weights: the latent ones, by state_dict name.
    """
    axes = {name: group_axis(weight) for name, weight in weights.items()}
    owners, whole = {name: name for name in weights}, frozenset()
    if isinstance(net, GraphNetwork):
        axes |= {name: 1 for name in weights if _is_transposed(net.graph, name)}
        run = Evaluation(net)
        matrices = {name: axis for name, axis in axes.items() if weights[name].dim() > 1}
        owners |= _owners(Axes(run), matrices)
        shared = {name for name, owner in owners.items() if name != owner}
        shared |= {owners[name] for name in shared}
        whole = frozenset(owners[name] for name in shared if not _is_local(run, name))
    return Groups({name: tuple(w.shape) for name, w in weights.items()}, axes, owners, whole)


def _owners(axes: Axes, along: Mapping[str, int]) -> dict[str, str]:
    """By weight the one whose scale it uses, given the axis of each weight's groups."""
    order = {node: place for place, node in enumerate(axes.graph.nodes)}
    nodes = {name: _node(axes.graph, name) for name in along}
    ids = {ref: axes.ids(ref) for ref in axes.refs()}  # all of them first: asking may freeze
    first: dict[bytes, str] = {}
    owners = {}
    for name in sorted(along, key=lambda name: order[nodes[name]]):
        units = ids[Ref(nodes[name])][along[name]]
        if units is None or axes.units.is_frozen(units).any():
            owners[name] = name
        else:
            owners[name] = first.setdefault(units.astype(np.int64).tobytes(), name)
    return {name: owners[name] for name in along}


def _node(graph: Graph, name: str) -> Node:
    name = graph.aliases.get(name, name)
    return next(node for node in graph.parameters if node.name == name)


def _is_transposed(graph: Graph, name: str) -> bool:
    """Whether a weight is one of transposed convolutions whose outputs lie along its axis 1."""
    users = graph.users()[_node(graph, name)]
    return bool(users) and all(
        user.operator.startswith("conv_transpose") and user.arguments["groups"] == 1
        for user in users
    )


def _is_local(run: Evaluation, name: str) -> bool:
    """Whether one layer uses a weight, and its input has the examples along the first axis."""
    node = _node(run.graph, name)
    users = run.graph.users()[node]
    if len(users) != 1 or users[0].operator not in _LOCAL:
        return False
    source, weight = (users[0].arguments[name] for name in ("input", "weight"))
    if weight.node is not node or source.node is node:
        return False
    # A first axis of another size is examples and positions in one.
    return run.batch_axes(source) == [0] and run.shape(source)[0] == BATCH
