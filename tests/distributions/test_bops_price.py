"""The price of a network's bit operations."""

import pytest
import torch
from bitsback.distributions import BopsPrice
from pyro.distributions import Delta
from torch.distributions import kl_divergence


def test_it_is_linear_and_no_density():
    p = BopsPrice(torch.tensor(3.0))
    assert p.log_prob(torch.tensor(0.5)) == -1.5
    assert kl_divergence(Delta(torch.tensor(0.25)), p) == 0.75
    with pytest.raises(NotImplementedError, match="METHODS"):
        p.sample()
    with pytest.raises(NotImplementedError, match="no batch"):
        p.expand((2,))
