"""Param statements for a module's own parameters, under either of Pyro's settings."""

import pyro
import pytest
import torch
from bitsback.distributions.parameters import state_parameters
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from torch import nn


class Pair(nn.Module):
    """A quadratic with its minimum at 3, as a model without latent sites."""

    def __init__(self):
        super().__init__()
        self.point = nn.Parameter(torch.zeros(()))

    def forward(self):
        state_parameters("pair", self)
        pyro.sample("y", pyro.distributions.Normal(self.point, 1.0), obs=torch.tensor(3.0))


def nothing():
    """A guide without sites."""


@pytest.mark.parametrize("local", [False, True])
def test_svi_trains_each_module_apart(local):
    with pyro.settings.context(module_local_params=local):
        first, second = Pair(), Pair()
        svi = SVI(first, nothing, pyro.optim.SGD({"lr": 0.1}), Trace_ELBO())
        for _ in range(100):
            svi.step()
    assert first.point.item() == pytest.approx(3, abs=1e-3)
    assert second.point.item() == 0
    assert not list(pyro.get_param_store().keys())


def test_sites_are_named_and_are_the_parameters():
    pair = Pair()
    nodes = poutine.trace(pair).get_trace().nodes
    assert nodes["pair.point"]["type"] == "param"
    assert nodes["pair.point"]["value"].unconstrained() is pair.point
