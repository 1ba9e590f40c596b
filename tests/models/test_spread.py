"""A change of one weight, followed through every kind of network, against full recomputation."""

import pytest
import torch
from bitsback.graph import GraphNetwork, Ref, parameters_of, trace
from bitsback.graph.one_unit import weight_of
from bitsback.models.spread import Shapes, Spread
from torch import nn

from ..graph.networks import NETWORKS, make

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
PARTS = [slice(0, 3), slice(3, 7)]


def spreads(network: GraphNetwork, x: torch.Tensor) -> list[Spread]:
    """Of each layer whose weight is used once."""
    shapes, users = Shapes(network, [x]), network.graph.users()
    found = []
    for node in network.graph.operators:
        weight = weight_of(node, shapes.of)
        if weight is not None and len(users[weight[0].node]) == 1:
            found.append(Spread(network, node, shapes))
    return found


def check(network: GraphNetwork, layer: Spread, x: torch.Tensor, unit: int, at: int) -> None:
    """Two changes of one unit, one after the other, on parts of the examples."""
    layer.store([x], PARTS)
    torch.testing.assert_close(layer.base[network.graph.outputs], network(x), **CLOSE)
    torch.testing.assert_close(layer.from_weight(layer.unit.weight, PARTS[1]), network(x)[3:])
    h = layer.base[layer.unit.source]
    own = layer.unit.of_unit(h, unit)
    slices = layer.slices(unit, own, slice(0, 7))
    torch.testing.assert_close(
        own, layer.place[layer.out].cut(layer.unit.result(h, layer.unit.weight), unit)
    )
    before = {ref: slices[ref] for ref in layer.kept} | {ref: layer.base[ref] for ref in layer.sums}
    for _ in range(2):
        own = own + 0.7 * layer.unit.of_weight(h, unit, at)
        after, outputs = {ref: torch.empty_like(value) for ref, value in before.items()}, []
        for part in PARTS:
            env = layer.slices(unit, own[part], part)
            for ref in layer.kept:
                after[ref][part] = env[ref]
            outputs.append(layer.outputs(unit, env, before, part, after))
        layer.unit.change(unit, at, 0.7)
        torch.testing.assert_close(torch.cat(outputs), network(x), **CLOSE)
        layer.accept(unit, after)
        before = after


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_each_layer_of_each_network(name):
    net, x = make(name)
    if not isinstance(x, torch.Tensor) or not isinstance(net(x), torch.Tensor):
        return  # of one input and one output
    x = torch.cat([x, NETWORKS[name][1]()])[:7]
    network, tried = trace(net, x), 0
    for layer in spreads(network, x):
        rows = layer.unit.by_unit(layer.unit.weight)
        for unit, at in ((0, 0), (len(rows) - 1, rows.shape[1] - 1), (len(rows) // 2, 1)):
            if layer.is_known:  # not within windows that are taken as examples
                check(network, layer, x, unit, min(at, rows.shape[1] - 1))
                tried += 1
    assert tried >= 3


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Linear(3, 4), (3,)),
        (nn.Linear(3, 4), (5, 3)),
        (nn.Conv1d(3, 4, 5, stride=2, padding=2), (3, 9)),
        (nn.Conv2d(3, 4, (2, 3), dilation=(1, 2), stride=(2, 1), padding=1), (3, 7, 8)),
        (nn.Conv2d(3, 4, (3, 4), padding="same", bias=False), (3, 6, 5)),
        (nn.Conv2d(4, 6, 3, groups=2, padding=1), (4, 6, 5)),
        (nn.Conv2d(4, 8, 3, groups=4), (4, 6, 5)),
        (nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), (3, 4, 5)),
        (nn.ConvTranspose1d(3, 4, 3, dilation=2), (3, 6)),
    ],
)
@torch.no_grad()
def test_a_unit_is_the_sum_of_its_weights(module, shape):
    x = torch.randn(6, *shape)
    network = trace(module, x)
    (layer,) = spreads(network, x)
    unit, row = layer.unit, layer.unit.by_unit(layer.unit.weight)[2]
    total = sum(w * unit.of_weight(x, 2, at) for at, w in enumerate(row))
    bias = dict(parameters_of(network)).get("bias")
    total = total if bias is None else total + bias[2]
    torch.testing.assert_close(total.expand_as(unit.of_unit(x, 2)), unit.of_unit(x, 2))
    torch.testing.assert_close(layer.place[Ref(layer.node)].cut(module(x), 2), unit.of_unit(x, 2))
    torch.testing.assert_close(unit.whole(unit.by_unit(unit.weight)), unit.weight)


def test_only_what_changes_is_computed():
    """In a chain one slice goes as far as the next layer; in a residual network it is opened."""
    lenet = trace(*make("lenet"))
    first = spreads(lenet, make("lenet")[1])[0]
    assert len(first.sums) == 1 and not first._opened and len(first._slices) == 1
    dense = spreads(trace(*make("densenet")), make("densenet")[1])[0]
    assert len(dense.sums) == 1 and dense._opened  # concatenated with maps that all change
    last = spreads(lenet, make("lenet")[1])[-1]
    assert not last.sums and last._opened == {lenet.graph.outputs}
