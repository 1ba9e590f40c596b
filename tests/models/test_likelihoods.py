"""Each likelihood against the loss that everybody knows, summed over an example's dimensions."""

import functools
import math

import pytest
import torch
from bitsback.models import LIKELIHOODS, Gaussian
from bitsback.models.likelihoods import bernoulli, categorical, name_of, normal
from pyro import poutine
from torch import nn
from torch.nn import functional as F

OUTPUT = {2: torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])}
OUTPUT[3] = torch.stack([OUTPUT[2], -OUTPUT[2]], 1)  # (batch 2, positions 2, 3)


@pytest.mark.parametrize("dim", OUTPUT)
def test_categorical(dim):
    output = OUTPUT[dim]
    labels = torch.zeros(output.shape[:-1], dtype=torch.long)
    labels[0] = 2
    losses = F.cross_entropy(output.flatten(0, -2), labels.flatten(), reduction="none")
    expected = -losses.reshape(2, -1).sum(1)
    torch.testing.assert_close(categorical(output).log_prob(labels), expected)


@pytest.mark.parametrize("dim", OUTPUT)
def test_bernoulli(dim):
    output = OUTPUT[dim]
    labels = (torch.arange(output.numel()) % 2.0).reshape(output.shape)
    losses = F.binary_cross_entropy_with_logits(output, labels, reduction="none")
    torch.testing.assert_close(bernoulli(output).log_prob(labels), -losses.flatten(1).sum(1))


@pytest.mark.parametrize("dim", OUTPUT)
def test_normal(dim):
    output = OUTPUT[dim]
    squares = (output - 1).square() / (2 * 0.25) + math.log(0.5 * math.sqrt(2 * math.pi))
    result = normal(output, scale=0.5).log_prob(torch.ones_like(output))
    torch.testing.assert_close(result, -squares.flatten(1).sum(1))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_in_a_model(name):
    """By its name, and with labels of the output's shape (classes: one an example)."""
    model = Gaussian(nn.Linear(4, 3), 10, likelihood=name)
    labels = torch.zeros(5, dtype=torch.long) if name == "categorical" else torch.ones(5, 3)
    site = poutine.trace(model).get_trace(torch.ones(5, 4), labels).nodes["y"]
    assert site["fn"].batch_shape == (5,) and site["scale"] == 2
    drawn = model(torch.ones(5, 4))
    assert drawn.shape == labels.shape


def test_one_of_the_users_own():
    likelihood = functools.partial(normal, scale=0.1)
    model = Gaussian(nn.Linear(4, 3), 10, likelihood=likelihood)
    site = poutine.trace(model).get_trace(torch.ones(5, 4), torch.ones(5, 3)).nodes["y"]
    assert site["fn"].base_dist.scale.eq(0.1).all()


def test_noise_does_not_hide_the_name():
    assert name_of(functools.partial(normal, scale=0.1)) == "normal"
    assert [name_of(known) for known in LIKELIHOODS.values()] == list(LIKELIHOODS)
    assert name_of(lambda output: normal(output)) is None
    model = Gaussian(nn.Linear(2, 1), 4, likelihood=functools.partial(normal, scale=0.1))
    assert model.likelihood_name == "normal"
