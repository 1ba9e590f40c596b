"""`compress` on networks of other kinds, and what it refuses."""
# ruff: noqa: F811  (a fixture of another file has the name of an argument)

import copy
import math

import pytest
import torch
from bitsback.compression.compress import compress
from bitsback.compression.file import decode, load, network
from bitsback.posterior import Posterior, WeightPosterior
from torch import nn

from .test_compress import case, digits_like, mlp, posterior_of, trained  # noqa: F401


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(20, 20), nn.Linear(20, 3)
        self.register_buffer("shift", torch.full((3,), 0.5))

    def forward(self, x):
        return self.last(x + self.first(x).relu()) + self.shift


def test_any_module(tmp_path):
    x, y = digits_like()
    net = trained(Residual(), x, y)
    result = compress(net, posterior_of(net), validation=(x, y))
    result.save(tmp_path / "net.bb")
    loaded = load(tmp_path / "net.bb", into=Residual())
    assert torch.equal(loaded(x), result.network(x)) and loaded.shift[0] == 0.5
    assert result.report["ratio"] > 4 and result.report["within_margin"]


@pytest.mark.filterwarnings("ignore::bitsback.compression.verdict.WorseNetwork")
def test_batch_norm_is_calibrated():
    x, y = digits_like()
    net = nn.Sequential(nn.Linear(20, 30), nn.BatchNorm1d(30), nn.ReLU(), nn.Linear(30, 3))
    trained(net.train(), x, y)
    net[1].running_mean += 3.0  # statistics of another network
    result = compress(net, posterior_of(net), validation=(x, y), training=x, margin_error=0.5)
    assert result.report["validation"]["error"] < 10 and result.report["within_margin"]
    assert result.report["batch_norm"]["re_estimated"]
    assert result.report["batch_norm"]["rise"]["nll"] < 0


def test_convolutions_in_float64():
    torch.set_default_dtype(torch.float64)
    x = torch.randn(200, 1, 8, 8)
    y = (x[:, 0, :4].mean((1, 2)) > x[:, 0, 4:].mean((1, 2))).long()
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(32, 2),
    )  # fmt: skip
    trained(net, x, y, 60)
    result = compress(net, posterior_of(net), validation=(x, y), margin_error=1.0)
    again = network(decode(result.data))
    assert again.state_dict()["0.weight"].dtype == torch.float64 and torch.equal(
        again(x), result.network(x)
    )


def test_weights_without_a_posterior_and_tied_ones():
    x, y = digits_like()
    shared = nn.Linear(20, 20)
    net = nn.Sequential(shared, nn.ReLU(), shared, nn.ReLU(), nn.Linear(20, 3))
    trained(net, x, y)
    posterior = Posterior({"0.weight": posterior_of(net).weights["0.weight"]})
    for quantiser in ("codebook", "stddev"):
        result = compress(net, posterior, validation=(x, y), quantiser=quantiser, margin_error=1.0)
        state = result.network.state_dict()
        assert state["0.weight"].data_ptr() == state["2.weight"].data_ptr()
        assert result.report["within_margin"]


def delta(net: nn.Module) -> Posterior:
    return Posterior(
        {
            name: WeightPosterior(weight.loc, 0 * weight.loc, torch.ones(()))
            for name, weight in posterior_of(net).weights.items()
        }
    )


def test_delta_posteriors_are_only_quantised(case):
    net, _, validation = case
    report = compress(net, delta(net), validation=validation).report
    assert report["threshold"] is None and report["within_margin"]
    assert report["nonzero_fraction"] == 1.0 and report["ratio"] > 3


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_a_layer_without_units_is_refused_by_name(case):
    net = nn.Sequential(nn.Linear(20, 0), nn.ReLU(), nn.Linear(0, 3)).eval()
    weights = {
        name: WeightPosterior(p.detach(), torch.zeros_like(p), torch.ones(()))
        for name, p in net.named_parameters()
        if p.dim() > 1
    }
    fails(
        case,
        r"'0.weight' has shape \(0, 20\) and holds no numbers",
        net=net,
        posterior=Posterior(weights),
    )


@pytest.mark.parametrize("likelihood", ["bernoulli", "normal"])
def test_other_likelihoods(likelihood):
    x, y = digits_like(classes=2)
    y = y.float() if likelihood == "normal" else y
    net = nn.Sequential(nn.Linear(20, 8), nn.Tanh(), nn.Linear(8, 1))
    optimiser = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(200):
        optimiser.zero_grad()
        nn.functional.mse_loss(net(x)[:, 0], y.float()).backward()
        optimiser.step()
    result = compress(
        net.eval(), posterior_of(net), validation=(x, y), likelihood=likelihood, margin_error=1.0
    )
    assert result.report["within_margin"]


def fails(case, message, net=None, posterior=None, validation=None, **options):
    with pytest.raises(ValueError, match=message):
        compress(net or case[0], posterior or case[1], validation=validation or case[2], **options)


def test_bad_input_is_refused(case):
    net, _, (x, y) = case
    fails(case, "unknown quantiser 'x'; known: auto, codebook, stddev, ", quantiser="x")
    fails(case, "unknown prune 'x'; known: weights, groups, none", prune="x")
    fails(case, "steps of units", quantiser="stddev-units", coder="huffman")
    fails(case, "threshold must be", threshold="x")
    fails(case, "threshold must be", threshold=math.nan)
    fails(case, "clusters must be", clusters=0)
    fails(case, "margin_nll must be", margin_nll=-1.0)
    fails(case, "margin_error must be", margin_error=math.nan)
    fails(case, "unknown likelihood", likelihood="x")
    fails(case, "coder", coder="x")
    fails(case, "400 inputs and 399 labels", validation=(x, y[1:]))
    fails(case, r"within 0\.\.2", validation=(x, y + 1))
    fails(case, "not in the network", net=nn.Linear(20, 3))
    fails(case, "stddev.*codebook", posterior=delta(net), quantiser="stddev")
    broken = copy.deepcopy(net)
    broken[1].bias.data[0] = math.nan
    fails(case, "NaN", net=broken)


def test_a_network_without_a_layer_to_compress():
    net = nn.Sequential(nn.Embedding(4, 3), nn.Flatten())
    loc = net[0].weight.detach()[0]
    posterior = Posterior({"0.weight": WeightPosterior(loc, loc, torch.ones(()))})
    with pytest.raises(ValueError, match="shape"):
        compress(net, posterior, validation=(torch.zeros(2, 1).long(), torch.zeros(2).long()))
    norm = nn.LayerNorm(3)
    posterior = Posterior({"weight": WeightPosterior(torch.ones(3), torch.ones(3), torch.ones(()))})
    with pytest.raises(ValueError, match="no matrix or kernel to compress"):
        compress(norm, posterior, validation=(torch.zeros(2, 3), torch.zeros(2).long()))
