"""Networks of every kind: traced, made partly dead, and reduced."""

import copy
import functools

import pytest
import torch
from bitsback.graph import GraphNetwork, roles, trace, weight_names
from bitsback.graph.examples import map_tensors
from bitsback.graph.folding import fold

from .checks import assert_same, call, check_facts, check_removal, kill, leaves, weights_in
from .networks import NETWORKS, make

# How many units go of those that are made dead, and of those that are dead then: none less.
REMOVED = {
    "lenet": 28, "mlp": 12, "vgg": 23, "resnet": 38, "padded-resnet": 7, "mobilenet": 23,
    "densenet": 11, "unet": 18, "transformer": 38, "gpt": 41, "vit": 5, "lstm": 12, "gru": 9,
    "two-inputs": 12, "shufflenet": 5, "signal": 14, "conv3d": 7, "gated": 11, "bilstm": 16,
    "autoencoder": 9, "swin": 4, "rotary": 19, "seq2seq": 23, "einsum": 12,
    "pixel-shuffle": 11, "grouped-queries": 9, "einsum-heads": 9, "time-first": 14,
}  # fmt: skip


@functools.cache
def _traced(name: str) -> tuple[GraphNetwork, GraphNetwork]:
    net, x = make(name)
    plain = trace(net, x, fold=False)
    return plain, fold(copy.deepcopy(plain))


def traced(name: str, folded: bool) -> GraphNetwork:
    return copy.deepcopy(_traced(name)[folded])


@pytest.mark.parametrize("name", NETWORKS)
def test_graph_computes_what_the_network_computes(name):
    net, x = make(name)
    own = {*net.state_dict(), *dict(net.named_buffers())}
    for folded in (False, True):
        network = traced(name, folded)
        with torch.no_grad():
            assert_same(call(net, x), call(network, x), 1e-5)
        if not folded:
            assert {k for k in network.state_dict() if "constant" not in k} <= own
        assert (
            roles(network).keys()
            == dict(network.state_dict()).keys() - network.graph.aliases.keys()
        )
        assert weight_names(network)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("folded", [True, False])
def test_facts(name, folded):
    network = traced(name, folded)
    kill(network, 0.4, torch.Generator().manual_seed(int(folded)))
    check_facts(network, leaves(make(name)[1]))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("folded", "zeros_only"), [(True, True), (True, False), (False, False)])
def test_removal(name, folded, zeros_only):
    x = make(name)[1]
    network = traced(name, folded)
    kill(network, 0.5, torch.Generator().manual_seed(3))
    reduction = check_removal(network, x, zeros_only)
    assert weights_in(reduction.network) < weights_in(network)
    if folded and zeros_only:
        assert reduction.units == REMOVED[name]


@pytest.mark.parametrize("name", NETWORKS)
def test_everything_is_on_the_device_of_the_inputs(name):
    """The meta device refuses to compute with tensors of any other."""
    network, x = traced(name, True).to("meta"), make(name)[1]
    for leaf in leaves(call(network, map_tensors(x, lambda tensor: tensor.to("meta")))):
        assert leaf.is_meta


@pytest.mark.parametrize("name", ["mlp", "vit"])
def test_compiles(name):
    """Without a break, and for another batch."""
    network, x = traced(name, True), make(name)[1]
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert_same(call(network, x), call(compiled, x))
        x = map_tensors(x, lambda tensor: tensor[:3])
        assert_same(call(network, x), call(compiled, x))


@pytest.mark.parametrize("name", NETWORKS)
def test_living_networks_stay(name):
    assert check_removal(traced(name, True), make(name)[1]).units == 0
