"""One training step of other libraries' Bayesian layers, on LeNet-300-100, for svi_step.py.

Each peer is of the same prior and objective as the method it stands beside; both libraries are
installed apart (`pip install --no-deps blitz-bayesian-pytorch bayesian-torch`), since what they
depend on would replace torch. A peer that is not there is left out.
"""

import importlib.util
import itertools
from collections.abc import Callable

import torch
from torch import nn

WIDTHS = (784, 300, 100, 10)


def blitz(x, y, num_data: int) -> Callable[[], None]:
    """BLiTZ: Bayes by Backprop with the scale mixture of two Gaussians, one draw of the weights."""
    from blitz.modules import BayesianLinear

    layers = [BayesianLinear(a, b) for a, b in itertools.pairwise(WIDTHS)]

    def kl(net: nn.Module):
        posterior = sum(layer.log_variational_posterior for layer in layers)
        return posterior - sum(layer.log_prior for layer in layers)

    return _step(layers, kl, x, y, num_data)


def bayesian_torch(x, y, num_data: int) -> Callable[[], None]:
    """bayesian-torch: a Gaussian prior, its closed-form KL, one draw of the weights."""
    from bayesian_torch.layers.variational_layers import LinearReparameterization

    layers = [LinearReparameterization(a, b) for a, b in itertools.pairwise(WIDTHS)]

    class Plain(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(x, return_kl=False)

    wrapped = [Plain(layer) for layer in layers]
    return _step(wrapped, lambda net: sum(layer.kl_loss() for layer in layers), x, y, num_data)


def _step(layers: list[nn.Module], kl: Callable, x, y, num_data: int) -> Callable[[], None]:
    first, second, last = layers
    net = nn.Sequential(nn.Flatten(), first, nn.ReLU(), second, nn.ReLU(), last)
    optimizer = torch.optim.Adam(net.parameters(), fused=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(net(x), y)
        (loss + kl(net) / num_data).backward()
        optimizer.step()

    return step


PEERS = {
    "scale-mixture": ("blitz", blitz),
    "gaussian": ("bayesian_torch", bayesian_torch),
}


def available(method: str) -> tuple[str, Callable] | None:
    """The peer of a method and its library's name, if there is one and it is installed."""
    peer = PEERS.get(method)
    return peer if peer and importlib.util.find_spec(peer[0]) else None
