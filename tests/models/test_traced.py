"""Models over traced networks: the same weights are latent, and the same numbers come out."""

import pyro
import pytest
import torch
from bitsback.graph import trace, weight_names
from bitsback.methods import METHODS
from torch import nn

from ..graph.networks import make


@pytest.mark.parametrize("method", ["gaussian", "log-uniform", "rate"])
def test_a_traced_network_trains_as_the_module(method):
    """Local reparameterization included: the same draws give the same outputs."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)
    )
    x, y = torch.randn(6, 1, 8, 8), torch.arange(6) % 3
    losses = []
    for each in (net, trace(net, x)):
        model, guide = METHODS[method].pair(each, 6)
        assert model.weight_names == ("0.weight", "4.weight")
        pyro.set_rng_seed(1)
        losses.append(pyro.infer.TraceMeanField_ELBO().loss(model, guide, x, y))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("name", ["transformer", "lstm", "gpt", "unet"])
def test_all_weights_of_a_graph_are_latent(name):
    net, x = make(name)
    network = trace(net, x)
    model, _ = METHODS["rate"].pair(network, 8)
    assert set(model.weight_names) == set(weight_names(network))
    weights = {k: v.clone() for k, v in model.initial_weights().items()}
    torch.testing.assert_close(model.output(x, weights), net(x), rtol=1e-4, atol=1e-5)
    trained = model.trained()
    torch.testing.assert_close(trained(x), net(x), rtol=1e-4, atol=1e-5)


def test_names_that_methods_of_modules_have():
    """Parameters are looked up in the modules' dictionaries."""

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("graph", nn.Linear(4, 3))

        def forward(self, x):
            return self.graph(x)

    x = torch.randn(5, 4)
    model, guide = METHODS["rate"].pair(trace(Named(), x), 5)
    assert model.weight_names == ("graph.weight",)
    assert model.output(x, guide.median()).shape == (5, 3)
