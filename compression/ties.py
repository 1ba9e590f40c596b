"""Tensors of several names, in a network and in a file: the same pairs in both, or a refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from ..common.modules import shared_names
from .nodes import TensorSpec

if TYPE_CHECKING:
    from .architecture import Architecture


def find_ties(state: Mapping[str, Tensor]) -> tuple[tuple[str, str], ...]:
    """Pairs (name, earlier name) of state_dict entries that are one tensor.

    :param state: with `keep_vars=True`, so that tensors without memory are told apart.
    """
    shared = shared_names(dict(state)).items()
    order = list(state)
    pairs = [(name, first) for first, names in shared for name in names[1:]]
    return tuple(sorted(pairs, key=lambda pair: order.index(pair[0])))


def with_common_roles(
    specs: Sequence[TensorSpec], ties: Sequence[tuple[str, str]]
) -> tuple[TensorSpec, ...]:
    """The specs with one role for all names of a tensor: "weight" if any has it, else "raw".

    An embedding that is the weight of a Linear layer as well is stored as a weight.
    """
    roles = {spec.name: spec.role for spec in specs}
    for name, original in ties:
        if roles[name] != roles[original]:
            common = "weight" if "weight" in (roles[name], roles[original]) else "raw"
            roles[name] = roles[original] = common
    for name, original in ties:  # a third name may have changed the first one's role
        roles[name] = roles[original]
    return tuple(replace(spec, role=roles[spec.name]) for spec in specs)


def check_into(architecture: Architecture, state: Mapping[str, Tensor]) -> None:
    """Refuse a network whose tensors are not tied as those of a file are.

    :param architecture: of the file. Tensors that it does not name may be tied in any way.
    :param state: the network's state_dict with `keep_vars=True`.
    :raises ValueError: names a pair that is tied in one of the two alone, or a tensor on the meta
        device.
    """
    for name, tensor in state.items():
        if isinstance(tensor, Tensor) and tensor.is_meta:
            raise ValueError(
                f"{name!r} of the network passed as into= is on the meta device and can hold no "
                "values: make the network on the CPU"
            )
    ties = architecture.ties
    known = {spec.name for spec in architecture.tensors()} | {name for name, _ in ties}
    own = [pair for pair in find_ties(state) if known.issuperset(pair)]
    of_file, of_net = _groups(ties), _groups(own)
    for name, original in ties:
        if name not in of_net.get(original, ()):
            raise ValueError(
                f"{name!r} and {original!r} are one tensor in the file, but two in the network "
                "passed as into=: tie them, as they were before compression"
            )
    for name, original in own:
        if name not in of_file.get(original, ()):
            raise ValueError(
                f"{name!r} and {original!r} are one tensor in the network passed as into=, but two "
                "in the file: give each its own, as before compression"
            )


def _groups(ties: Sequence[tuple[str, str]]) -> dict[str, set[str]]:
    """Each tied name -> all names of its tensor."""
    groups: dict[str, set[str]] = {}
    for name, original in ties:
        group = groups.setdefault(original, {original})
        group.add(name)
        groups[name] = group
    return groups
