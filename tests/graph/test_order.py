"""Which units may stand in any order, and how long it takes to find them."""

import numpy as np
import torch
from bitsback.graph import order, trace
from bitsback.graph.axes import Axes
from bitsback.graph.evaluate import Evaluation
from torch import Tensor, nn


class Residual(nn.Module):
    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)
        self.up = nn.ModuleList(nn.Linear(4, 5) for _ in range(blocks))
        self.down = nn.ModuleList(nn.Linear(5, 4) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for up, down in zip(self.up, self.down, strict=True):
            x = x + down(torch.relu(up(x)))
        return self.last(x)


def orders_of(blocks: int) -> tuple[nn.Module, order.Orders]:
    network = trace(Residual(blocks), torch.randn(2, 3))
    return network, order.Orders(Axes(Evaluation(network)))


def test_sets_are_the_residual_stream_and_each_hidden_layer():
    _, orders = orders_of(3)
    assert sorted(len(units) for units in orders.sets) == [4, 5, 5, 5]
    stream = next(units for units in orders.sets if len(units) == 4)
    assert orders.rows(stream)[:2] == [("first.weight", 0), ("first.bias", 0)]
    assert ("last.weight", 1) in orders.rows(stream)


def test_only_the_sets_asked_for_are_moved():
    _, orders = orders_of(2)
    hidden = next(units for units in orders.sets if ("up.1.weight", 0) in orders.rows(units))
    places = orders.moved(lambda units: -np.arange(len(units)), [hidden])
    assert set(places) == {"up.1.weight", "up.1.bias", "down.1.weight"}
    rows, columns = places["down.1.weight"]
    assert rows is None
    assert columns.tolist() == [4, 3, 2, 1, 0]


def test_work_grows_as_the_depth(monkeypatch):
    """A WaveNet of 40 blocks took half a minute when each set was looked for on every axis."""
    looks: list[int] = []
    has_blocks = order._has_blocks

    def counted(ids: np.ndarray, units: np.ndarray) -> bool:
        looks[-1] += 1
        return has_blocks(ids, units)

    monkeypatch.setattr(order, "_has_blocks", counted)
    for blocks in (4, 16):
        looks.append(0)
        orders_of(blocks)
    assert looks[1] <= 5 * looks[0]
