"""Multiplications of weights, counted by hand."""

import pytest
import torch
from bitsback.graph import trace
from bitsback.graph.work import multiply_adds
from torch import nn

LAST = [
    (nn.Linear(3, 2), (4, 3), 6),
    (nn.Linear(3, 2), (4, 7, 3), 7 * 6),
    (nn.Conv2d(4, 6, 3, groups=2), (4, 4, 8, 8), 36 * 6 * 2 * 9),
    (nn.ConvTranspose1d(4, 6, 2), (4, 4, 8), 9 * 4 * 6 * 2),
    (nn.LSTM(3, 5, batch_first=True), (4, 7, 3), 7 * 20 * (3 + 5)),
]


@pytest.mark.parametrize(("net", "shape", "expected"), LAST)
def test_layers(net, shape, expected):
    x = torch.randn(shape)
    assert multiply_adds(trace(net.eval(), x), x) == expected


def test_lookups_cost_nothing():
    net = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(8, 3)).eval()
    x = torch.randint(7, (5, 2))
    assert multiply_adds(trace(net, x), x) == 24
