"""Which outputs of a network's weights can be removed, together with what, and if not, why."""

from dataclasses import dataclass

import numpy as np

from ..graph import GraphNetwork
from ..graph.axes import Axes
from ..graph.evaluate import Evaluation
from ..graph.ir import Node
from ..graph.units import Axis, ids_of


@dataclass(frozen=True)
class Outputs:
    """The outputs (rows, filters) of weights that can only be removed together.

    :param weights: names in the state_dict; more than one where operators tie their outputs.
    :param units: how many there are.
    :param obstacle: why they must all stay; None where they can go.
    """

    weights: tuple[str, ...]
    units: int
    obstacle: str | None


class _Reasons(Axes):
    """Axes that remember which operator froze a unit first."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._node: Node | None = None
        self._frozen_by: list[tuple[np.ndarray, str]] = []
        super().__init__(evaluation)

    def freeze(self, axis: Axis) -> None:
        for atom in axis:
            if atom.ids is not None:
                self._note(atom.ids)
        super().freeze(axis)

    def reason(self, ids: np.ndarray) -> str:
        """Why the first of these units that is frozen must stay."""
        wanted = set(self.units.find(ids).tolist())
        for frozen, why in self._frozen_by:
            if wanted & set(self.units.find(frozen).tolist()):
                return why
        return "tied to an axis of fixed size"

    def _note(self, ids: np.ndarray) -> None:
        node = self._node
        why = "an output of the network" if node is None else f"{node.operator} fixes their number"
        self._frozen_by.append((ids, why))

    def _tie_ids(self, a: np.ndarray | None, b: np.ndarray | None) -> None:
        if (a is None) != (b is None):
            self._note(a if b is None else b)
        super()._tie_ids(a, b)

    def _visit(self, node: Node) -> None:
        self._node = node
        super()._visit(node)
        self._node = None


def removable_outputs(network: GraphNetwork, weights: tuple[str, ...]) -> list[Outputs]:
    """The outputs of weights, those that are tied to each other as one entry.

    :param network: a traced network.
    :param weights: names in its state_dict.
    """
    axes = _Reasons(Evaluation(network))
    found: dict[tuple[int, ...], list[str]] = {}
    for ref in axes.refs():
        if ref.node.operator == "parameter" and ref.node.name in weights:
            ids = ids_of(axes.of(ref)[0], axes.units)
            if ids is not None:
                units = tuple(sorted(set(axes.units.find(ids).tolist())))
                found.setdefault(units, []).append(ref.node.name)
    result = []
    for units, names in found.items():
        ids = np.array(units)
        stays = axes.units.is_frozen(ids)
        why = axes.reason(ids[stays]) if stays.any() else None
        obstacle = why if stays.all() else None
        result.append(Outputs(tuple(names), len(units), obstacle))
    return result
