"""The learning rate of deep networks."""

import pytest
import torch
from bitsback.graph import trace
from bitsback.graph.depth import depth, rate_for
from bitsback.methods import METHODS
from bitsback.training import Options
from bitsback.workbench.networks import NETWORKS, network
from bitsback.workbench.phases import _for_depth
from bitsback.workbench.settings import Settings
from torch import nn


def chain(layers: int) -> nn.Module:
    body = [part for _ in range(layers - 1) for part in (nn.Linear(4, 4), nn.ReLU())]
    return nn.Sequential(*body, nn.Linear(4, 2))


@pytest.mark.parametrize(("layers", "factor"), [(1, 1.0), (4, 1.0), (5, 0.8), (16, 0.25)])
def test_a_rate_falls_with_the_layers(layers, factor):
    net = trace(chain(layers), torch.zeros(2, 4))
    assert depth(net) == layers and rate_for(net) == factor
    assert rate_for(chain(layers)) == 1.0  # not traced


def test_the_longest_path_counts():
    shapes = {"resnet-8": 8, "resnet-20": 20}
    for name, layers in shapes.items():
        assert depth(trace(network(name), torch.zeros(2, 3, 32, 32))) == layers


def test_networks_that_rates_were_chosen_on_keep_them():
    """The reference networks of digits and MNIST are shallow."""
    for name in set(NETWORKS) - {"resnet-8", "resnet-20"}:
        shape = (1, 8, 8) if name == "digits-mlp" else (1, 28, 28)
        assert rate_for(trace(network(name), torch.zeros(2, *shape))) == 1.0


def test_a_rate_that_is_given_stays():
    net, method = trace(chain(16), torch.zeros(2, 4)), METHODS["log-uniform"]
    options = Options(epochs=1, batch_size=2, lr=0.4)
    for settings, lr in (
        (Settings(network="resnet-20"), 0.1),
        (Settings(network="resnet-20", lr=0.4), 0.4),
        (Settings(network="lenet-300-100"), 0.4),  # a preset
    ):
        assert _for_depth(options, method, net, settings).lr == lr
