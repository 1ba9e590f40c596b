"""Which BatchNorm statistics a traced network is compressed with."""

import pytest
import torch
from bitsback.compression.statistics import Settled
from torch import nn

X = torch.randn(80, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


def norm(shift: float) -> nn.Module:
    net = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()
    with torch.no_grad():
        net[0].running_mean.copy_(X.mean(0) + shift)
        net[0].running_var.copy_(X.var(0))
        net[1].weight.copy_(torch.tensor([[-3.0, 0, 0, 0], [3.0, 0, 0, 0]]))
        net[1].bias.zero_()
    return net


def test_statistics_of_lower_nll_are_taken():
    settled, net = Settled(X, X, Y, "categorical"), norm(5.0)
    found = settled(net)
    assert settled.taken and settled.rise.nll < 0
    torch.testing.assert_close(found[0].running_mean, X.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net[0].running_mean, X.mean(0) + 5)


def test_the_given_ones_stay_where_others_are_worse():
    settled, net = Settled(X + 5, X, Y, "categorical"), norm(0.0)
    assert settled(net) is net
    assert not settled.taken and settled.rise.nll > 0


@pytest.mark.parametrize("net", [norm(1.0), nn.Linear(4, 2)])
def test_nothing_to_choose(net):
    settled = Settled(None if isinstance(net, nn.Sequential) else X, X, Y, "categorical")
    assert settled(net) is net and settled.rise is None
