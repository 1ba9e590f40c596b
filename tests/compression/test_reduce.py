"""Reducing changes no output, and leaves out what it should."""

import copy

import numpy as np
import pytest
import torch
from bitsback.compression.reduce import _composed, reduce
from bitsback.graph import parameters_of, trace
from torch import nn

from .sequences import NETWORKS, parameters, sparsify, traced


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", NETWORKS)
def test_the_function_stays(name, seed):
    make, shape = NETWORKS[name]
    net = traced(sparsify(make(), seed, (0.3, 0.6, 0.9, 1.0)[seed]), shape)
    before = copy.deepcopy(net.state_dict())
    x = torch.randn(5, *shape, dtype=torch.float64)
    small = reduce(net)
    torch.testing.assert_close(small.net(x), net(x), rtol=1e-10, atol=1e-10)
    assert parameters(small.net) <= parameters(net)
    for key, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[key])


@pytest.mark.parametrize("name", NETWORKS)
def test_kept_says_where_weights_come_from(name):
    make, shape = NETWORKS[name]
    net = traced(sparsify(make(), 5, 0.6), shape)
    small = reduce(net)
    old, new = dict(parameters_of(net)), dict(parameters_of(small.net))
    for key, places in small.kept.items():
        if key in new and old[key].dim() > 1:
            part = old[key].detach().numpy()
            for axis, chosen in enumerate(places):
                part = part if chosen is None else part.take(chosen, axis)
            assert np.array_equal(part, new[key].detach().numpy()), key


def test_inputs_that_nothing_reads_are_left_out():
    net = nn.Sequential(nn.Linear(200, 30), nn.ReLU(), nn.Linear(30, 4))
    with torch.no_grad():
        net[0].weight[:, torch.arange(200) % 9 > 0] = 0
    x = torch.randn(6, 200)
    small = reduce(trace(net, x))
    assert small.net.get_buffer("select.kept").sum() == 23
    assert dict(parameters_of(small.net))["0.weight"].shape == (30, 23)
    torch.testing.assert_close(small.net(x), net(x))
    assert small.kept["0.weight"][1].tolist() == list(range(0, 200, 9))


def test_a_choice_that_does_not_pay_is_not_made():
    net = nn.Sequential(nn.Linear(20, 5), nn.ReLU(), nn.Linear(5, 4))
    with torch.no_grad():
        net[0].weight[:, 3] = 0
    small = reduce(trace(net, torch.zeros(2, 20)))
    assert small.kept == {}


def test_a_choice_that_is_there_becomes_narrower():
    net = nn.Sequential(nn.Linear(200, 30), nn.ReLU(), nn.Linear(30, 4))
    with torch.no_grad():
        net[0].weight[:, torch.arange(200) % 9 > 0] = 0
    x = torch.randn(6, 200)
    once = reduce(trace(net, x)).net
    with torch.no_grad():
        dict(parameters_of(once))["0.weight"][:, 4] = 0
    twice = reduce(once)
    assert twice.net.get_buffer("select.kept").sum() == 22
    torch.testing.assert_close(twice.net(x), once(x))
    assert twice.kept["0.weight"][1].tolist() == [i for i in range(23) if i != 4]


def test_biases_that_the_next_layer_can_say_are_folded():
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.MaxPool2d(2), nn.Conv2d(6, 4, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(4 * 9, 3),
    )  # fmt: skip
    x = torch.randn(4, 1, 12, 12)
    small = reduce(trace(net, x)).net
    assert "0.bias" not in small.state_dict() and "2.bias" in small.state_dict()
    torch.testing.assert_close(small(x), net(x))


@pytest.mark.parametrize(
    "between", [[nn.ReLU()], [nn.AvgPool2d(2, padding=1)]], ids=["bent", "padded"]
)
def test_biases_stay_where_the_next_layer_cannot_say_them(between):
    net = nn.Sequential(nn.Conv2d(1, 6, 3), *between, nn.Conv2d(6, 4, 3))
    x = torch.randn(4, 1, 12, 12)
    small = reduce(trace(net, x)).net
    assert "0.bias" in small.state_dict()
    torch.testing.assert_close(small(x), net(x))


def test_biases_stay_where_more_units_would_have_to_say_them():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3))
    assert "0.bias" in reduce(trace(net, torch.zeros(2, 1, 12, 12))).net.state_dict()


def test_positions_of_positions():
    first, second = (np.array([1, 4, 6]), None), (np.array([0, 2]), np.array([3]))
    found = _composed(first, second)
    assert found[0].tolist() == [1, 6] and found[1].tolist() == [3]
