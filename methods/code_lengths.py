"""A file as a description in bits: labels given the network, and its weights, priced and coded."""

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from ..compression.archive import Archive
from ..compression.file import inspect
from ..models.densities import Densities
from ..models.lending import Lending, shape_layout
from ..training.evaluation import Split, evaluate

REFRESHES = 8  # of tables from nothing; they have converged long before


def predicted_bits(archive: Archive) -> float:
    """What method `rate`'s prior charges for the integers of an archive's weights, in bits.

    The price of the integers and of the tables that predict them; steps, biases and shapes are not
    in it. It knows nothing of the coder's own statistics.
    """
    nats, layouts, every, kept = 0.0, {}, {}, None
    before, units = "", 0
    for spec in archive.architecture.tensors():
        if spec.role == "mask":
            kept = torch.from_numpy(np.asarray(archive.tensors[spec.name]))
        if spec.role != "weight":
            continue
        levels = torch.from_numpy(archive.tensors[spec.name].codes).float()
        if kept is not None and int(kept.sum()) == levels.shape[1]:
            levels = torch.zeros(len(levels), len(kept)).index_copy_(
                1, kept.nonzero()[:, 0], levels
            )
        else:
            kept = None
        every[spec.name] = levels
        layouts[spec.name] = shape_layout(tuple(levels.shape), units, before)
        tables = Densities(levels, layouts[spec.name])
        lent = Lending(layouts).degree(spec.name, every)
        for _ in range(REFRESHES):
            tables.refresh(levels, columns=kept, degree=lent)
        nats += tables.lattice(torch.ones(())).price(levels).sum().item() + tables.own_nats.item()
        before, units, kept = spec.name, len(levels), None
    return nats / math.log(2)


def code_lengths(archive: Archive, data: bytes, net: nn.Module, train: Split) -> dict[str, Any]:
    """The two parts of the description of the training labels, in bits.

    :param net: the network of the file, `data`.
    :returns: `label_bits`, those of all training labels under the network; `weight_bits`,
        `predicted_bits`; and `coded_bits`, what the file takes for the same integers.
    """
    items = inspect(data)["items"]
    return {
        "label_bits": evaluate(net, train).nll_bits,
        "weight_bits": predicted_bits(archive),
        "coded_bits": 8 * (items["positions"] + items["values"]),
    }
