"""Which outputs can go, together with what, and why others stay."""

import torch
from bitsback.graph import trace
from bitsback.workbench.removable import removable_outputs
from torch import nn


class Net(nn.Module):
    """A residual stream of width 4 over a hidden layer, with layer normalization at the end."""

    def __init__(self):
        super().__init__()
        self.first, self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 6), nn.Linear(6, 4)
        self.norm, self.head = nn.LayerNorm(4), nn.Linear(4, 2)

    def forward(self, x):
        x = self.first(x)
        return self.head(self.norm(x + self.b(self.a(x).relu())))


def found(net: nn.Module, names: tuple[str, ...]) -> dict:
    rows = removable_outputs(trace(net, torch.zeros(2, 3)), names)
    return {row.weights: (row.units, row.obstacle) for row in rows}


def test_tied_frozen_and_free_outputs():
    names = tuple(f"{name}.weight" for name in ("first", "a", "b", "head"))
    assert found(Net(), names) == {
        ("first.weight", "b.weight"): (4, "layer_norm fixes their number"),
        ("a.weight",): (6, None),
        ("head.weight",): (2, "an output of the network"),
    }


def test_without_the_norm_the_stream_is_free():
    net = Net()
    net.norm = nn.Identity()
    assert found(net, ("first.weight", "b.weight")) == {("first.weight", "b.weight"): (4, None)}
