"""BatchNorm statistics: re-estimated ones against the inputs' own, and the choice of lower NLL."""

import pytest
import torch
from bitsback.compression import batch_norm as module
from bitsback.compression.batch_norm import Chooser, batch_norms, calibrate
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
    chooser, net = Chooser(X, X, Y, "categorical"), norm(5.0)
    found = chooser(net)
    assert chooser.choice.re_estimated and chooser.choice.rise.nll < 0
    torch.testing.assert_close(found[0].running_mean, X.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net[0].running_mean, X.mean(0) + 5)


def test_the_given_ones_stay_where_others_are_worse():
    chooser, net = Chooser(X + 5, X, Y, "categorical"), norm(0.0)
    assert chooser(net) is net
    assert not chooser.choice.re_estimated and chooser.choice.rise.nll > 0


@pytest.mark.parametrize("net", [norm(1.0), nn.Linear(4, 2)])
def test_nothing_to_choose(net):
    chooser = Chooser(None if isinstance(net, nn.Sequential) else X, X, Y, "categorical")
    assert chooser(net) is net and chooser.choice is None


def test_calibrate_finds_the_statistics_of_the_inputs():
    net = nn.Sequential(nn.BatchNorm1d(3, momentum=0.3), nn.Linear(3, 2), nn.Dropout(0.9)).eval()
    x = 2 * torch.randn(500, 3) + 1
    calibrate(net, x)
    torch.testing.assert_close(net[0].running_mean, x.mean(0))
    torch.testing.assert_close(net[0].running_var, x.var(0))
    assert net[0].momentum == 0.3 and net[0].num_batches_tracked == 0
    assert not any(module.training for module in net.modules())


def test_batch_norms_are_those_with_running_statistics():
    kept, none = nn.BatchNorm1d(3), nn.BatchNorm1d(3, track_running_stats=False)
    assert batch_norms(nn.Sequential(kept, nn.Linear(3, 3), none)) == [kept]


def test_calibration_weighs_chunks_alike(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 4)
    seen = []

    class Seen(nn.BatchNorm1d):
        def forward(self, x):
            seen.append(len(x))
            return super().forward(x)

    net, x = nn.Sequential(Seen(2)).eval(), torch.randn(11, 2)
    calibrate(net, x)
    assert seen == [6, 5]
    expected = (x[:6].mean(0) + x[6:].mean(0)) / 2
    torch.testing.assert_close(net[0].running_mean, expected)
