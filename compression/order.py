"""Hidden units in another order: the same function, and a file that is a little smaller.

The rows of a layer may stand in any order if its bias, the BatchNorms after it and the inputs of
the next layer follow. The range coder learns as it goes and lends each row the statistics of those
before it, so that rows of like density side by side cost less. Which end is better to begin at
differs from file to file; the decoder need not know.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
from torch import nn

from .archive import Archive, Quantised
from .chain import BATCH_NORMS, Layer, layers_of, leaves_of, tied_modules
from .file import network
from .quantise import select
from .quantised_relu import QuantisedReLU

ALL = slice(None)
Tensors = dict[str, Quantised | np.ndarray]


def by_density(archive: Archive) -> Iterator[Archive]:
    """The archive with the units of its hidden layers by falling, then by rising density.

    The density of a unit is the number of its own weights that are not 0; units of the same stay
    as they were. Only layers that `chain` links to the next are touched; others, and the outputs
    of the last, stay. Outputs are those of `archive` but for the float rounding of sums in another
    order. Nothing comes of networks that a file cannot rebuild, of those without a link, and of
    those with a `QuantisedReLU`: what it gives has to be what it gave in training, bit for bit.
    """
    if archive.architecture.root is None:
        return
    net = network(archive)
    leaves = list(leaves_of(net))
    if any(isinstance(module, QuantisedReLU) for _, module in leaves):
        return
    layers, _ = layers_of(leaves, tied_modules(net))
    linked = [(layer, after) for layer, after in pairwise(layers) if layer.positions]
    before = {path: name for (name, _), (path, _) in pairwise(leaves)}
    for sign in (-1, 1) if linked else ():
        tensors = dict(archive.tensors)
        for layer, after in linked:
            codes = tensors[f"{layer.path}.weight"].codes
            count = np.count_nonzero(codes.reshape(len(codes), -1), axis=1)
            order = np.argsort(sign * count, kind="stable")
            _reorder(tensors, order, layer, after, before[after.path])
        yield replace(archive, tensors=tensors)


def _reorder(tensors: Tensors, order: np.ndarray, layer: Layer, after: Layer, before: str) -> None:
    """Unit `order[k]` of `layer` becomes its unit k, in place.

    :param before: the path of what stands before `after`; a Select if that is `selected`.
    """
    columns = order[:, None] * layer.positions + np.arange(layer.positions)
    inputs = after.inputs.numpy()[columns.reshape(-1)]
    weight, bias = f"{layer.path}.weight", f"{layer.path}.bias"
    tensors[weight] = select(tensors[weight], order, ALL)
    if bias in tensors:
        tensors[bias] = replace(tensors[bias], codes=tensors[bias].codes[order])
    for path, module in layer.after:
        if isinstance(module, nn.Flatten):
            order = columns.reshape(-1)
        elif isinstance(module, BATCH_NORMS):
            for name in [name for name, tensor in module.state_dict().items() if tensor.ndim]:
                tensors[f"{path}.{name}"] = tensors[f"{path}.{name}"][order]
    if after.selected:
        tensors[f"{before}.kept"] = inputs >= 0
    weight = f"{after.path}.weight"
    tensors[weight] = select(tensors[weight], ALL, inputs[inputs >= 0])
