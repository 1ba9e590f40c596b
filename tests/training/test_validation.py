"""The validation error of a pair is that of its likelihood, whatever the model calls it."""

import functools

import pytest
import torch
from bitsback.guides import MeanFieldNormal
from bitsback.models import Gaussian
from bitsback.models.likelihoods import normal
from bitsback.training.steps import Pair
from bitsback.training.validation import validation_error
from pyro.distributions import Cauchy, Poisson
from torch import nn

COUNT = 1025  # one more than a chunk


def pair(outputs: int, likelihood, net=None) -> Pair:
    torch.manual_seed(0)
    model = Gaussian(net or nn.Linear(4, outputs), COUNT, likelihood=likelihood)
    return Pair(model, MeanFieldNormal(model))


def outputs_of(both: Pair, x):
    return both.model.output(x, both.guide.median(x[:1])).detach()


X = torch.randn(COUNT, 4)


def test_classes_and_several_labels():
    both, y = pair(3, "categorical"), torch.randint(0, 3, (COUNT,))
    wrong = (outputs_of(both, X).argmax(1) != y).double().mean().item()
    assert validation_error(both, X, y) == pytest.approx(100 * wrong)
    x, y = torch.randn(30, 5, 4), torch.randint(0, 3, (30, 5))
    wrong = (outputs_of(both, x).argmax(-1) != y).double().mean().item()
    assert validation_error(both, x, y) == pytest.approx(100 * wrong)


def test_bernoulli():
    both, y = pair(2, "bernoulli"), (torch.rand(COUNT, 2) < 0.5).float()
    wrong = ((outputs_of(both, X) > 0) != (y > 0.5)).double().mean().item()
    assert validation_error(both, X, y) == pytest.approx(100 * wrong)


@pytest.mark.parametrize("likelihood", ["normal", functools.partial(normal, scale=0.1)])
def test_real_values(likelihood):
    both, y = pair(2, likelihood), 3 * torch.randn(COUNT, 2) + 5
    square = (outputs_of(both, X) - y).square().mean()
    expected = 100 * square / (y - y.mean(0)).square().mean()
    assert validation_error(both, X, y) == pytest.approx(expected.item(), rel=1e-5)


def test_other_likelihoods_by_their_mean():
    both = pair(1, lambda output: Poisson(output.exp()).to_event(1))
    y = torch.poisson(torch.full((COUNT, 1), 2.0))
    square = (outputs_of(both, X).exp() - y).square().mean()
    expected = 100 * square / (y - y.mean(0)).square().mean()
    assert validation_error(both, X, y) == pytest.approx(expected.item(), rel=1e-5)
    both = pair(1, lambda output: Cauchy(output, 1.0).to_event(1))
    found = validation_error(both, X, y)
    assert found is None or found != found  # it has no mean


def test_dropout_is_off_and_modes_are_kept():
    net = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.9), nn.BatchNorm1d(3))
    both, y = pair(3, "categorical", net), torch.randint(0, 3, (COUNT,))
    net = both.model.net
    net[2].eval()
    assert validation_error(both, X, y) == validation_error(both, X, y)
    assert net.training and net[1].training and not net[2].training
    assert net[2].num_batches_tracked == 0
