"""Where each layer's inputs come from, and ReLUs with the pooling behind them."""

import pytest
import torch
from bitsback.distributions.quantiser import quantised_relu
from bitsback.models.gated_relu import inputs_of, put_in
from torch import nn


def names(net: nn.Module) -> tuple[str, ...]:
    return tuple(k for k, p in net.named_parameters() if p.dim() > 1)


def test_a_chain_of_layers():
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3), nn.MaxPool2d(2),
        nn.Sequential(nn.Flatten(), nn.Linear(8, 4), nn.ReLU()), nn.Linear(4, 4), nn.ReLU(),
        nn.Tanh(), nn.Linear(4, 2), nn.ReLU(),
    )  # fmt: skip
    assert inputs_of(net, names(net)) == {
        "0.weight": (None, None),
        "3.weight": ("1", "0.weight"),
        "5.1.weight": (None, "3.weight"),
        "6.weight": ("5.2", "5.1.weight"),
        "9.weight": (None, "6.weight"),
    }


def test_what_cannot_be_told_is_not():
    relu = nn.ReLU()
    net = nn.Sequential(nn.Linear(2, 2), relu, nn.Linear(2, 2), relu, nn.Linear(2, 2))
    assert set(inputs_of(net, names(net)).values()) == {(None, None)}

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x):
            return x + self.fc(x)

    net = nn.Sequential(Own(), nn.ReLU(), nn.Linear(2, 2))
    assert set(inputs_of(net, names(net)).values()) == {(None, None)}


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, 1, 1), nn.AdaptiveMaxPool2d(2)])
def test_pooling_first_changes_no_value(pool):
    """Not in float32 either, quantised or not, and nested paths are found."""
    torch.manual_seed(0)
    x, step = torch.randn(4, 3, 7, 7), torch.tensor(0.3)

    class Rounded(nn.Module):
        def forward(self, x):
            return quantised_relu(x, step, 2)

    conv = nn.Conv2d(3, 2, 3)
    net = nn.Sequential(nn.Sequential(conv, nn.ReLU()), pool, nn.Flatten())
    put_in(net, ["0.1"])
    assert type(net[1]) is nn.Identity
    torch.testing.assert_close(net(x), nn.Flatten()(pool(conv(x).relu())), rtol=0, atol=0)
    net[0][1].quantiser = lambda x: quantised_relu(x, step, 2)
    expected = nn.Sequential(conv, Rounded(), pool, nn.Flatten())(x)
    assert len(expected.unique()) > 2
    torch.testing.assert_close(net(x), expected, rtol=0, atol=0)


def test_only_pooling_right_behind_is_moved():
    net = nn.Sequential(
        nn.ReLU(), nn.Flatten(), nn.MaxPool1d(2), nn.ReLU(), nn.MaxPool1d(2, return_indices=True)
    )
    put_in(net, ["0", "3"])
    assert [type(m).__name__ for m in net] == [
        "GatedReLU", "Flatten", "MaxPool1d", "GatedReLU", "MaxPool1d",
    ]  # fmt: skip
