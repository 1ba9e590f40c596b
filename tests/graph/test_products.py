"""Every which input vector of a product, against all of them."""

import pytest
import torch
from bitsback.graph import parameters_of, products, trace
from bitsback.graph.ir import INPUT
from bitsback.graph.table import OPERATORS
from torch import nn

LAYERS = {
    "linear": (nn.Linear(5, 3), (7, 4, 5)),
    "conv1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), (5, 4, 9)),
    "conv2d": (nn.Conv2d(3, 4, (3, 2), dilation=(2, 1)), (4, 3, 8, 7)),
    "conv_transpose2d": (nn.ConvTranspose2d(3, 4, 2, stride=2), (3, 3, 4, 5)),
}


def product_of(kind):
    net, shape = LAYERS[kind]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    traced = trace(net.eval(), x)
    tensors = dict(parameters_of(traced))
    node = next(n for n in traced.graph.operators if OPERATORS[n.operator].products)

    def value(what):
        if not hasattr(what, "node"):
            return what
        return x if what.node.operator == INPUT else tensors[what.node.name]

    return next(iter(OPERATORS[node.operator].products(node, value)))


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("stride", [1, 3, 7, 1000])
def test_they_are_those_of_all_blocks(kind, stride, monkeypatch):
    product = product_of(kind)
    whole = torch.cat(list(product.blocks()), 1)
    monkeypatch.setattr(products, "LARGEST", 200)  # several blocks
    monkeypatch.setattr(products, "MOST_PICKED", 4)
    found = torch.cat(list(product.every(stride, whole.shape[1])), 1)
    assert torch.equal(found, whole[:, ::stride])
