"""Networks of every kind: traced, made partly dead, reduced, and traced again."""

import functools

import pytest
import torch
from bitsback.graph import GraphNetwork, trace

from .checks import assert_same, call, check_facts, check_removal, kill, leaves, weights_in
from .networks import NETWORKS, make

# Of the units that are made dead so many go at least; the others stand where nothing can go.
REMOVED = dict.fromkeys(NETWORKS, 3)


@functools.cache
def traced(name: str) -> tuple[GraphNetwork, GraphNetwork]:
    net, x = make(name)
    return trace(net, x), trace(net, x, fold=False)


def inputs_of(x) -> list[torch.Tensor]:
    return leaves(x)


@pytest.mark.parametrize("name", NETWORKS)
def test_graph_computes_what_the_network_computes(name):
    net, x = make(name)
    names = net.state_dict().keys()
    for network in traced(name):
        with torch.no_grad():
            assert_same(call(net, x), call(network, x), 1e-5)
    assert traced(name)[1].state_dict().keys() <= {*names, *(k for k in ("cos", "sin"))}


@pytest.mark.parametrize("name", NETWORKS)
def test_facts(name):
    import copy

    x = make(name)[1]
    for number, network in enumerate(traced(name)):
        network = copy.deepcopy(network)
        kill(network, 0.4, torch.Generator().manual_seed(number))
        check_facts(network, inputs_of(x))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize("zeros_only", [True, False])
def test_removal(name, folded, zeros_only):
    import copy

    x = make(name)[1]
    network = copy.deepcopy(traced(name)[not folded])
    assert check_removal(network, x, zeros_only).units == 0
    dead = kill(network, 0.5, torch.Generator().manual_seed(3))
    reduction = check_removal(network, x, zeros_only)
    assert weights_in(reduction.network) < weights_in(network)
    print(name, folded, zeros_only, len(dead), reduction.units)
