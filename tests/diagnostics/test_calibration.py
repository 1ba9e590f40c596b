import math

import bitsback
import pytest
import torch
from bitsback.diagnostics import calibration, change, distance_to_uniform, pit, predict
from torch import nn
from torch.distributions import Normal

from .problem import NOISE, Regression


def test_by_hand():
    """Four predictions, two bins: (0.5, 1] has all; (0, 0.5] one with confidence 0.5."""
    probabilities = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.5, 0.5]])
    found = calibration(probabilities, torch.tensor([0, 1, 1, 0]), bins=2)
    assert found.count.tolist() == [1, 3]
    torch.testing.assert_close(found.confidence, torch.tensor([0.5, 0.8]).double())
    torch.testing.assert_close(found.accuracy, torch.tensor([1.0, 2 / 3]).double())
    assert found.ece == pytest.approx((1 * 0.5 + 3 * (0.8 - 2 / 3)) / 4)
    torch.testing.assert_close(found.brier, torch.tensor([0.02, 1.28, 0.18, 0.5]).double())
    expected = [-math.log(p) for p in (0.9, 0.2, 0.7, 0.5)]
    assert found.nll.tolist() == pytest.approx(expected)


def test_a_calibrated_classifier_and_an_overconfident_one():
    """Labels drawn from the probabilities; then the logits doubled."""
    logits = 1.5 * torch.randn(20_000, 3)
    probabilities = torch.softmax(logits, 1)
    labels = torch.distributions.Categorical(probabilities).sample()
    right = calibration(probabilities, labels)
    sure = calibration(torch.softmax(2 * logits, 1), labels)
    assert right.ece < 0.015 < 0.1 < sure.ece
    assert right.count.sum() == 20_000 and right.count[:4].sum() == 0
    assert right.confidence[0].isnan() and right.accuracy[0].isnan()
    worse = change(right, sure)
    assert worse.nll > 5 * worse.nll_stderr > 0 and worse.brier > 5 * worse.brier_stderr > 0
    assert worse.ece == pytest.approx(sure.ece - right.ece)


def test_change_is_paired():
    probabilities = torch.softmax(torch.randn(50, 4), 1)
    labels = torch.randint(4, (50,))
    one = calibration(probabilities, labels)
    same = change(one, one)
    assert (same.nll, same.nll_stderr, same.brier, same.brier_stderr, same.ece) == (0,) * 5
    with pytest.raises(ValueError, match="50 examples before, 49 after"):
        change(one, calibration(probabilities[1:], labels[1:]))


def test_binary_and_refusals():
    two = torch.tensor([[0.8, 0.2], [0.4, 0.6]])
    labels = torch.tensor([0, 1])
    one, other = calibration(two, labels), calibration(two[:, 1], labels)
    torch.testing.assert_close(one.nll, other.nll)
    assert one.ece == pytest.approx(other.ece)
    with pytest.raises(ValueError, match="logits"):
        calibration(torch.randn(5, 3), torch.zeros(5))
    with pytest.raises(ValueError, match="for 2 predictions"):
        calibration(two, torch.zeros(3))


def test_predictive_probabilities_are_the_mean_over_draws():
    net = nn.Linear(4, 3)
    model = bitsback.models.Gaussian(net, 30)
    x = torch.randn(30, 4)
    weights = torch.randn(5, 3, 4)
    found = predict(model, {"weight": weights}, x, batch_size=7)
    logits = torch.einsum("nd,scd->snc", x, weights) + net.bias
    torch.testing.assert_close(found, torch.softmax(logits, -1).mean(0))
    guide = bitsback.guides.MeanFieldNormal(model, init_scale=1e-6)
    expected = torch.softmax(net(x), -1)
    torch.testing.assert_close(predict(model, guide, x, 3), expected, atol=1e-4, rtol=0)


def test_pit_by_hand():
    problem = Regression()
    w = torch.randn(4, 1, 3, dtype=torch.float64)
    found = pit(problem.model, {"weight": w}, problem.x, problem.y, batch_size=8)
    means = torch.einsum("nd,sod->sno", problem.x, w)
    torch.testing.assert_close(found, Normal(means, NOISE).cdf(problem.y).mean(0))


def test_pit_tells_right_from_narrow():
    problem = Regression()
    x = torch.randn(600, 3, dtype=torch.float64)
    weight = (problem.covariance.diagonal().sqrt() * torch.randn(3).double() + problem.mean)[None]
    y = (x @ weight[0] + NOISE * torch.randn(600, dtype=torch.float64))[:, None]
    right = pit(problem.model, {"weight": weight[None]}, x, y)
    distance, limit = distance_to_uniform(right)
    assert distance < 1.3 * limit
    y = (x @ weight[0] + 2 * NOISE * torch.randn(600, dtype=torch.float64))[:, None]
    narrow = pit(problem.model, {"weight": weight[None]}, x, y)
    assert distance_to_uniform(narrow)[0] > 1.8 * limit


def test_distance_to_uniform_by_hand():
    distance, limit = distance_to_uniform(torch.tensor([0.25, 0.75]))
    assert distance == pytest.approx(0.25) and limit == pytest.approx(1.358 / math.sqrt(2))
    assert distance_to_uniform(torch.tensor([0.9, 0.95]))[0] == pytest.approx(0.9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_probabilities_of_half_precision(dtype, classes):
    logits, labels = 3 * torch.randn(2000, classes), torch.randint(0, classes, (2000,))
    exact = calibration(logits.softmax(-1), labels)
    found = calibration(logits.to(dtype).softmax(-1), labels)
    assert found.ece == pytest.approx(exact.ece, abs=0.01)
    assert found.brier.mean().item() == pytest.approx(exact.brier.mean().item(), abs=0.01)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_logits_are_no_probabilities(dtype):
    logits, labels = 3 * torch.randn(50, 4).to(dtype), torch.randint(0, 2, (50,))
    for given in (logits, logits[:, 0], logits.softmax(-1) * 0.9):
        with pytest.raises(ValueError, match="are they logits"):
            calibration(given, labels)
