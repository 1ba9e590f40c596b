"""Scores against their formulas, and paired rises against their definition."""

import math

import pytest
import torch
from bitsback.compression import scores as module
from bitsback.compression.scores import (
    Rise,
    Scores,
    check_data,
    chunks,
    least_rise,
    rise,
    scores,
)
from torch import nn


def test_categorical():
    net = nn.Linear(3, 4)
    x, y = torch.randn(50, 3), torch.randint(0, 4, (50,))
    found = scores(net, x, y)
    p = net(x).double().softmax(1)[torch.arange(50), y]
    torch.testing.assert_close(found.nll, -p.log().detach())
    assert torch.equal(found.error > 0, net(x).argmax(1) != y) and set(found.error.tolist()) <= {
        0.0, 100.0
    }  # fmt: skip


@pytest.mark.parametrize("shape", [(30,), (30, 1), (30, 2)])
def test_bernoulli(shape):
    net = nn.Linear(3, shape[1] if len(shape) > 1 else 1)
    x, y = torch.randn(30, 3), torch.randint(0, 2, shape)
    p = net(x).double().sigmoid().reshape(30, -1)
    labels = y.reshape(30, -1)
    likelihood = torch.where(labels == 1, p, 1 - p).log().sum(1)
    found = scores(net, x, y, "bernoulli")
    torch.testing.assert_close(found.nll, -likelihood.detach())
    torch.testing.assert_close(found.error, 100 * ((p > 0.5) != labels).double().mean(1))


def test_normal():
    net = nn.Linear(3, 1)
    x, y = torch.randn(40, 3), 5 * torch.randn(40)
    found = scores(net, x, y, "normal")
    mean = net(x)[:, 0].detach().double()
    expected = -torch.distributions.Normal(mean, 1.0).log_prob(y.double())
    torch.testing.assert_close(found.nll, expected)
    spread = (y.double() - y.double().mean()).square().mean()
    torch.testing.assert_close(found.error.mean(), 100 * (mean - y).square().mean() / spread)


def test_several_labels_an_example():
    """NLL is their sum, the error their mean, as for Bernoulli labels."""
    net = nn.Linear(3, 4)
    x, y = torch.randn(20, 2, 5, 3), torch.randint(0, 4, (20, 2, 5))
    found = scores(net, x, y)
    flat = scores(net, x.reshape(-1, 3), y.reshape(-1))
    torch.testing.assert_close(found.nll, flat.nll.reshape(20, -1).sum(1))
    torch.testing.assert_close(found.error, flat.error.reshape(20, -1).mean(1))


def test_one_wrong_label_is_the_least_rise():
    assert least_rise(torch.zeros(300), "categorical") == pytest.approx(1 / 3)
    assert least_rise(torch.zeros(10, 5), "bernoulli") == 2.0
    assert least_rise(torch.zeros(10, 5), "normal") == 0.0


@pytest.mark.parametrize(
    ("count", "size", "lengths"), [(0, 4, [0]), (8, 4, [4, 4]), (9, 4, [3] * 3)]
)
def test_chunks_are_of_nearly_equal_length(count, size, lengths):
    parts = chunks(torch.arange(count), size)
    assert [len(part) for part in parts] == lengths
    assert torch.cat(parts).equal(torch.arange(count))
    assert [len(part) for part in chunks(torch.arange(module.CHUNK + 1))] == [513, 512]


def test_chunks_change_nothing(monkeypatch):
    net = nn.Linear(3, 2).double()
    x, y = torch.randn(10, 3).double(), torch.randint(0, 2, (10,))
    whole = scores(net, x, y)
    monkeypatch.setattr(module, "CHUNK", 3)
    parts = scores(net, x, y)
    torch.testing.assert_close(parts.nll, whole.nll)
    joined = whole.head(4).join(Scores(whole.nll[4:], whole.error[4:]))
    assert torch.equal(joined.nll, whole.nll)


def test_rise_is_paired():
    before = Scores(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0.0, 100.0, 0.0, 0.0]))
    after = Scores(before.nll + torch.tensor([0.1, 0.3, 0.1, 0.3]), before.error + 1)
    found = rise(after, before)
    assert found.nll == pytest.approx(0.2) and found.error == pytest.approx(1.0)
    assert found.nll_stderr == pytest.approx(0.2 / math.sqrt(3) / 2, rel=1e-5)
    assert found.error_stderr == 0.0
    assert found.within(0.2 + 1e-6, 1.0) and not found.within(0.19, 1.0)
    assert not found.within(1.0, 0.9)


def test_nothing_within_a_margin_is_not_finite():
    after = Scores(torch.tensor([1.0, math.nan]), torch.tensor([0.0, 0.0]))
    found = rise(after, Scores(torch.zeros(2), torch.zeros(2)))
    assert found == Rise(math.inf, math.inf, 0.0, 0.0) and not found.within(1e9, 1e9)


@pytest.mark.parametrize(
    ("x", "y", "likelihood", "message"),
    [
        (torch.zeros(3, 2), torch.zeros(2), "categorical", "3 inputs and 2 labels"),
        (torch.zeros(0, 2), torch.zeros(0), "categorical", "0 inputs"),
        (torch.zeros(2, 2), torch.zeros(2).long(), "poisson", "categorical, bernoulli, normal"),
        (torch.full((2, 2), math.nan), torch.zeros(2).long(), "categorical", "NaN"),
        (torch.zeros(2, 2), torch.zeros(2), "categorical", "integers"),
        (torch.zeros(2, 2), torch.full((2,), 0.5), "bernoulli", "0 or 1"),
        (torch.zeros(2, 2), torch.full((2,), math.inf), "normal", "infinity"),
    ],
)
def test_unusable_data_is_refused(x, y, likelihood, message):
    with pytest.raises(ValueError, match=message):
        check_data(x, y, likelihood)


@pytest.mark.parametrize(
    ("y", "likelihood", "message"),
    [
        (torch.tensor([0, 3]), "categorical", r"span 0\.\.3.*within 0\.\.1"),
        (torch.tensor([0, -1]), "categorical", r"span -1"),
        (torch.tensor([[0, 1], [1, 0]]), "categorical", r"2 examples it gives \(2, 2\).*\(2, 2\)"),
        (torch.zeros(2, 3), "normal", "do not fit"),
    ],
)
def test_labels_that_do_not_fit_the_network(y, likelihood, message):
    with pytest.raises(ValueError, match=message):
        scores(nn.Linear(3, 2), torch.zeros(2, 3), y, likelihood)
