"""The scale of real labels' noise against residuals that are known."""

import pytest
import torch
from bitsback.models.likelihoods import name_of
from bitsback.training.evaluation import Split
from bitsback.workbench.noise import LEAST, with_noise
from torch import nn


def test_the_scale_is_the_root_mean_square_of_the_residuals():
    net, x = nn.Linear(2, 1), torch.randn(50, 2)
    y = net(x).detach() + torch.tensor([3.0, -3.0]).repeat(25)[:, None]
    found = with_noise(net, Split(x, y, "normal"))
    assert name_of(found) == "normal"
    assert found(torch.zeros(1, 1)).stddev.item() == pytest.approx(3.0)


def test_a_network_without_residuals_leaves_some_noise():
    net, x = nn.Linear(2, 1), torch.randn(50, 2)
    y = net(x).detach()
    found = with_noise(net, Split(x, y, "normal"))
    assert found(y).stddev[0].item() == pytest.approx(LEAST * y.std(correction=0).item())


def test_the_with_noise_classes_has_no_noise():
    split = Split(torch.randn(4, 2), torch.tensor([0, 1, 0, 1]), "categorical")
    assert with_noise(nn.Linear(2, 2), split) == "categorical"


def test_a_network_that_gives_nan_is_left_to_training():
    net = nn.Linear(2, 1)
    net.weight.data.fill_(float("nan"))
    assert with_noise(net, Split(torch.ones(3, 2), torch.ones(3, 1), "normal")) == "normal"
