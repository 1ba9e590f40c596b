"""How much a network computes."""

from __future__ import annotations

from typing import Any

import torch

from .moments import inputs_of, walk
from .network import GraphNetwork, parameters_of
from .uses import Uses


@torch.no_grad()
def multiply_adds(network: GraphNetwork, batch: Any) -> float:
    """Multiplications of weights in one run of a network, for one example of a batch.

    Those of activations with each other (attention) and lookups are left out.

    :param network: a traced network; not changed.
    :param batch: inputs as they are passed (see `trace`), on the network's device.

    >>> multiply_adds(trace(nn.Linear(3, 2), torch.randn(4, 3)), torch.randn(4, 3))
    6.0
    """
    uses, tensors = Uses(network), dict(parameters_of(network))
    inputs, examples = inputs_of(network, batch)
    total = 0.0
    for node, value in walk(network, inputs, uses.nodes):
        for use in uses.of(node, value):
            if not use.product.lookup:
                vectors = sum(block.shape[1] for block in use.product.blocks())
                rows = 1 if use.rows is None else len(use.rows) / len(tensors[use.name])
                total += vectors * rows * tensors[use.name].numel()
    return total / examples
