"""Units in another order: the same function, and a file that is a little smaller.

The rows of a layer may stand in any order if everything that has a place for each row follows
(`graph.Orders`). The range coder learns as it goes and lends each row the statistics of those
before it, so that rows of like density side by side cost less. Which end is better to begin at
differs from file to file; the decoder need not know.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from ..graph import GraphNetwork, Orders
from ..graph.axes import Axes
from ..graph.evaluate import Evaluation
from .archive import Archive, Quantised
from .quantise import select
from .weights import taken


def by_density(archive: Archive, net: GraphNetwork) -> Iterator[Archive]:
    """The archive with its units by falling, then by rising density.

    The density of a unit is the number of weights that are not 0 in all rows that make it; units
    of the same density stay as they were. Outputs are those of `archive` but for the float rounding
    of sums in another order. Nothing comes of networks whose units are all tied to their places,
    nor of those with quantized ReLUs: what they give has to be what they gave in training, bit for
    bit.

    :param net: the network of the archive.
    """
    if any(node.operator == "quantised_relu" for node in net.graph.operators):
        return
    orders = Orders(Axes(Evaluation(net)))
    for sign in (-1, 1) if orders.sets else ():

        def key(units: np.ndarray, sign: int = sign) -> np.ndarray:
            return sign * _density(archive, orders, units)

        yield moved(archive, orders, key)


def moved(archive: Archive, orders: Orders, key: Callable[[np.ndarray], np.ndarray]) -> Archive:
    """The archive with every set of units sorted by a key; see `graph.Orders.moved`."""
    tensors = dict(archive.tensors)
    for name, places in orders.moved(key).items():
        tensor = tensors[name]
        quantised = isinstance(tensor, Quantised)
        tensors[name] = select(tensor, places) if quantised else taken(tensor, places)
    return replace(archive, tensors=tensors)


def _density(archive: Archive, orders: Orders, units: np.ndarray) -> np.ndarray:
    """How many weights make each unit, int64 (units,)."""
    count = np.zeros(len(units), np.int64)
    for name, axis in orders.rows(units):
        tensor = archive.tensors[name]
        if axis == 0 and isinstance(tensor, Quantised) and tensor.codes.ndim > 1:
            rows = np.count_nonzero(tensor.codes.reshape(len(tensor.codes), -1), axis=1)
            place = {unit: i for i, unit in enumerate(units.tolist())}
            np.add.at(count, [place[u] for u in orders.slots(name, axis).tolist()], rows)
    return count
