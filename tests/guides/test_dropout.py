"""Dropout as an approximate posterior: moments, masks of each example, and the KL."""

import math

import pyro
import pytest
import torch
from bitsback.guides import ELBO, BernoulliDropout
from bitsback.guides.dropout import DroppedPoint, DroppedWeight
from bitsback.models import Gaussian
from pyro.distributions import Normal
from pyro.infer import SVI, Trace_ELBO
from torch import nn
from torch.distributions.kl import kl_divergence
from torch.nn import functional as F

DRAWS = 20_000


def make(net=None, **options):
    net = net or nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    model = Gaussian(net, 6, scale=0.7)
    return model, BernoulliDropout(model, **options)


def near(draws: torch.Tensor, mean: torch.Tensor, stddev: torch.Tensor) -> None:
    """Mean and standard deviation within 5 standard errors, for bounded noise of two values."""
    error = (draws.mean(0) - mean).abs() / (stddev / math.sqrt(len(draws)))
    assert error[stddev > 0].max() < 5
    torch.testing.assert_close(draws.std(0), stddev, rtol=0.05, atol=1e-6)


@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
def test_dense_layers_drop_inputs_of_each_example(p):
    """The output's mean is the means' and its variance that of w: p / (1 - p) sum (x loc)^2."""
    loc, bias, x = torch.randn(3, 5), torch.randn(3), torch.randn(5)
    out = F.linear(x.expand(DRAWS, 5), DroppedWeight(loc, p), bias)
    stddev = ((x * loc).square().sum(1) * p / (1 - p)).sqrt()
    near(out, F.linear(x, loc, bias), stddev)


def test_all_outputs_of_an_example_share_the_mask():
    """Equal weights: each output is the sum of the inputs left, the same one for all outputs."""
    out = F.linear(torch.ones(50, 6), DroppedWeight(torch.ones(4, 6), 0.5))
    assert out.equal(out[:, :1].expand_as(out)) and out[:, 0].unique().numel() > 3
    for conv, shape in ((F.conv1d, (3,)), (F.conv2d, (2, 2))):
        x = torch.ones(50, 6, *(5 for _ in shape))
        maps = conv(x, DroppedWeight(torch.ones(4, 6, *shape), 0.5))
        assert maps.equal(maps[:, :1].expand_as(maps)) and maps[:, 0].unique().numel() > 3


def test_positions_share_the_mask():
    """One draw of the weight an example, along a sequence and over a feature map."""
    x = torch.ones(64, 7, 4)
    out = F.linear(x, DroppedWeight(torch.rand(3, 4), 0.5))
    assert out.equal(out[:, :1].expand_as(out)) and out[:, 0].unique(dim=0).shape[0] > 8
    image = F.conv2d(torch.ones(64, 4, 5, 5), DroppedWeight(torch.rand(3, 4, 2, 2), 0.5))
    torch.testing.assert_close(image, image[..., :1, :1].expand_as(image))
    assert image[..., 0, 0].unique(dim=0).shape[0] > 8


@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_drop_channels(groups):
    loc, x = torch.randn(4, 6 // groups, 2), torch.randn(1, 6, 5)
    out = F.conv1d(x.expand(DRAWS, 6, 5), DroppedWeight(loc, 0.3), None, 2, groups=groups)
    honest = torch.stack(
        [
            F.conv1d(x[0], DroppedWeight(loc, 0.3).draw(), None, 2, groups=groups)
            for _ in range(4000)
        ]
    )
    near(out, F.conv1d(x[0], loc, None, 2, groups=groups), out.std(0))
    torch.testing.assert_close(out.std(0), honest.std(0), rtol=0.08, atol=1e-6)
    single = F.conv1d(x[0], DroppedWeight(loc, 0.3), None, 2, groups=groups)
    assert single.shape == honest[0].shape


def test_moments_and_quantiles_in_closed_form():
    model, guide = make(p=0.6, first=0.1)
    for name, weight in guide.posterior().weights.items():
        p = 0.1 if name == "0.weight" else 0.6
        torch.testing.assert_close(weight.stddev, weight.loc.abs() * math.sqrt(p / (1 - p)))
        assert weight.inclusion.equal(torch.ones(()))
        rms = weight.loc.square().mean().sqrt()
        torch.testing.assert_close(weight.log_alpha, -2 * (weight.loc.abs() / rms).log())
        values = guide.quantiles([0.01, 0.99])[name]
        kept = weight.loc / (1 - p)
        assert values[0].equal(torch.where(weight.loc < 0, kept, 0.0))
        assert values[1].equal(torch.where(weight.loc > 0, kept, 0.0))
    assert guide.median()["0.weight"].equal(model.initial_weights()["0.weight"])


@pytest.mark.parametrize("p", [0.0, 0.25, 0.8])
def test_kl_is_the_cross_entropy(p):
    """-E_q log p by enumeration of the two values, float64; the entropy is left out."""
    loc = torch.randn(3, 4, dtype=torch.float64)
    prior = Normal(torch.full_like(loc, 0.3), torch.rand(3, 4, dtype=torch.float64) + 0.1)
    kept, dropped = -prior.log_prob(loc / (1 - p)), -prior.log_prob(torch.zeros_like(loc))
    expected = (1 - p) * kept + p * dropped
    torch.testing.assert_close(kl_divergence(DroppedPoint(loc, p), prior), expected)


def test_trace_elbo_trains_it_too():
    model, guide = make()
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    assert math.isfinite(svi.step(torch.randn(6, 4), torch.arange(6) % 2))


def test_single_inputs_and_tied_weights():
    net = nn.Sequential(nn.Conv1d(1, 3, 2), nn.ReLU(), nn.Conv1d(3, 3, 1), nn.ReLU())
    net.append(net[2])
    model, guide = make(nn.Sequential(net, nn.Flatten(), nn.Linear(12, 2)), first=0.9)
    assert not guide.posterior().weights["0.0.weight"].stddev.any()
    assert torch.isfinite(
        torch.tensor(ELBO().loss(model, guide, torch.randn(6, 1, 5), torch.zeros(6).long()))
    )


def test_transposed_convolutions_see_one_draw():
    """Their weights' second axis is that of the outputs: whole maps are dropped."""
    weight = DroppedPoint(torch.ones(2, 5, 1), 0.5).rsample()
    y = F.conv_transpose1d(torch.ones(8, 2, 3), weight)
    assert torch.equal(y, (2 * weight.draw()[0]).expand(8, 5, 3))


def test_bad_probabilities():
    with pytest.raises(ValueError, match=r"first, a dropout probability, must be in \[0, 1\)"):
        make(first=1.0)
    with pytest.raises(NotImplementedError, match="one at a time"):
        DroppedPoint(torch.ones(2, 2), 0.5).rsample(torch.Size([3]))
