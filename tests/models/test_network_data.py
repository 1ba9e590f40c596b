"""What a model is given: several inputs and outputs, labels, and numbers of examples."""

import pytest
import torch
from bitsback.models import Gaussian
from pyro import poutine
from pyro.distributions import Categorical
from torch import nn

from .test_network import train


class Sum(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(3, 2)

    def forward(self, left, right):
        return self.dense(left + right)


@pytest.mark.parametrize("pack", [lambda x: (x, x), lambda x: {"right": x, "left": x}])
def test_several_inputs(pack):
    model, x = Gaussian(Sum(), 6), torch.randn(6, 3)
    guide = train(model, pack(x), torch.arange(6) % 2)
    with torch.no_grad():
        expected = torch.nn.functional.linear(2 * x, guide.median()["dense.weight"])
        found = model.output(pack(x), guide.median())
    torch.testing.assert_close(found, expected + model.net.dense.bias)


def test_several_outputs_for_a_likelihood_that_reads_them():
    class Both(Sum):
        def forward(self, x):
            return super().forward(x, x), x

    x, y = torch.randn(6, 3), torch.arange(6) % 2
    model = Gaussian(Both(), 6, likelihood=lambda output: Categorical(logits=output[0]))
    train(model, x, y)
    with pytest.raises(ValueError, match="gives a tuple, but likelihood 'categorical'"):
        Gaussian(Both(), 6)(x, y)


def test_classes_behind_the_examples():
    """As torch's cross_entropy has them; without labels the model goes by those that it saw."""
    net, x = nn.Conv1d(2, 3, 1), torch.randn(4, 2, 5)
    y = torch.randint(0, 3, (4, 5))
    model = Gaussian(net, 4)
    weights = {"weight": net.weight.detach()}
    found = poutine.trace(poutine.condition(model, weights)).get_trace(x, y)
    found.compute_log_prob()
    expected = -torch.nn.functional.cross_entropy(net(x), y, reduction="sum")
    torch.testing.assert_close(found.nodes["y"]["log_prob_sum"], expected)
    assert model(x).shape == (4, 5)


@pytest.mark.parametrize("likelihood", ["bernoulli", "normal"])
def test_whole_number_labels_of_real_outputs(likelihood):
    x, y = torch.randn(6, 3), torch.arange(6)[:, None] % 2
    losses = []
    for labels in (y, y.float(), y.bool()):
        model = Gaussian(nn.Linear(3, 1), 6, likelihood=likelihood)
        model.net.bias.data.zero_()
        trace = poutine.trace(poutine.condition(model, {"weight": torch.ones(1, 3)}))
        losses.append(trace.get_trace(x, labels).log_prob_sum())
    assert losses[0] == losses[1] == losses[2]


@pytest.mark.parametrize(
    ("net", "num_data", "message"),
    [
        (nn.Linear(2, 2), 6.5, "num_data.*got 6.5"),
        (nn.Linear(2, 2), "60", "num_data.*got '60'"),
        (nn.Sequential(nn.Linear(2, 2), nn.Softmax(-1)), 6, "ends in Softmax"),
    ],
)
def test_what_cannot_be_meant(net, num_data, message):
    with pytest.raises(ValueError, match=message):
        Gaussian(net, num_data)(torch.randn(6, 2), torch.zeros(6).long())


def test_the_number_of_batches_for_that_of_examples():
    with pytest.raises(ValueError, match="num_data is 3, but one batch holds 6 examples"):
        Gaussian(nn.Linear(2, 2), 3)(torch.randn(6, 2), torch.zeros(6).long())


def test_what_is_no_network():
    with pytest.raises(TypeError, match=r"must be an nn.Module, not a function"):
        Gaussian(lambda x: x, 5)
