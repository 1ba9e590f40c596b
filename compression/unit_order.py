"""The order of hidden units that makes a file smallest."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import nn

from ..graph import GraphNetwork
from .archive import Archive
from .file import encode, network
from .sort_units import by_density, by_rows


def shortest_order(
    data: bytes, archive: Archive, net: nn.Module, agree: Callable[[nn.Module, nn.Module], bool]
) -> tuple[bytes, Archive]:
    """The file with its units in the order that makes it smallest, and its archive.

    Sorted units, whose order the file does not pay for, are smaller in all but tiny networks.

    :param data: the file as it is, of the archive.
    :param net: the network of the archive; if it has no graph, its units stay.
    :param agree: whether two networks compute the same; another order is refused where not.
    """
    best = data, archive
    if not isinstance(net, GraphNetwork):
        return best
    before = network(archive, copy.deepcopy(net))

    def better(other: Archive) -> bool:
        nonlocal best
        again = encode(other, "small")
        if len(again) >= len(best[0]):
            return False
        agrees = agree(before, network(other, copy.deepcopy(net)))
        best = (again, other) if agrees else best
        return agrees

    by_falling = None
    for other in by_density(archive, net):
        by_falling = by_falling or other
        better(other)
    for other in by_rows(by_falling, net) if by_falling else ():
        if not better(other) and best[1].sorted:
            break
    return best
