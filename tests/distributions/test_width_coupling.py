"""The price on widths that differ, by hand."""

import pytest
import torch
from bitsback.distributions import WidthCoupling
from bitsback.distributions.width_coupling import width_probabilities
from pyro.distributions import Delta
from torch.distributions import kl_divergence


def test_the_price_is_an_expectation_over_two_widths():
    p = WidthCoupling(torch.tensor(0.5), (2, 4, 8))
    one, two = torch.tensor([0.2, 0.3, 0.5]), torch.tensor([0.6, 0.4, 0.0])
    joint, bits, total = torch.outer(one, two), (2, 4, 8), 0.0
    for i in range(3):
        for j in range(3):
            total += 0.5 * one[i].item() * two[j].item() * abs(bits[i] - bits[j])
    assert kl_divergence(Delta(joint, event_dim=2), p).item() == pytest.approx(total)
    same = torch.zeros(3, 3)
    same[1, 1] = 1
    assert p.log_prob(same) == 0
    with pytest.raises(NotImplementedError, match="METHODS"):
        p.sample()
    with pytest.raises(NotImplementedError, match="no batch"):
        p.expand((2,))


def test_widths_have_probabilities():
    found = width_probabilities(torch.tensor([0.8, 0.5]))
    torch.testing.assert_close(found, torch.tensor([0.2, 0.3, 0.5]))
    assert width_probabilities(torch.zeros(0)).tolist() == [1.0]
