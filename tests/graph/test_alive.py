"""Units removed one after the other while a network trains."""

import numpy as np
import pytest
import torch
from bitsback.graph import Axes, Evaluation, GraphNetwork, Ref, parameters_of, trace
from bitsback.graph.alive import count_units, dead_units, masked, without
from torch import nn

from .checks import assert_same
from .networks import make

X = torch.randn(4, 5)


def network() -> GraphNetwork:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    return trace(net, X)


def units_of(net: GraphNetwork, name: str, axis: int = 0) -> np.ndarray:
    """The unit at each position of an axis of a parameter."""
    node = next(n for n in net.graph.parameters if n.name == name)
    return Axes(Evaluation(net)).ids(Ref(node))[axis]


def silent(net: GraphNetwork, name: str, rows: list[int]) -> None:
    tensors = dict(parameters_of(net))
    with torch.no_grad():
        tensors[f"{name}.weight"][rows] = 0
        tensors[f"{name}.bias"][rows] = 0


def none(net: GraphNetwork) -> np.ndarray:
    return np.zeros(count_units(net), bool)


def test_units_that_are_zero_or_not_read_die():
    net = network()
    assert not dead_units(net, none(net)).any()
    silent(net, "0", [1, 4])
    with torch.no_grad():
        dict(parameters_of(net))["4.weight"][:, 2] = 0
    dead = dead_units(net, none(net))
    assert set(np.flatnonzero(dead)) == {
        *units_of(net, "0.weight")[[1, 4]],
        units_of(net, "2.weight")[2],
    }


def test_constants_other_than_zero_live():
    net = network()
    silent(net, "0", [1])
    with torch.no_grad():
        dict(parameters_of(net))["0.bias"][1] = 1.0
    assert not dead_units(net, none(net)).any()


def test_what_was_removed_stays_removed():
    """Whatever its numbers are by now; and a unit that it alone fed dies with it."""
    net = network()
    before = none(net)
    before[units_of(net, "0.weight")[[0, 3]]] = True
    with torch.no_grad():
        tensors = dict(parameters_of(net))
        tensors["2.weight"][1] = 0
        tensors["2.weight"][1, [0, 3]], tensors["2.bias"][1] = 1.0, 0.0
    dead = dead_units(net, before)
    assert dead[before].all() and dead[units_of(net, "2.weight")[1]]
    assert dead.sum() == 3


def test_where_nothing_would_be_left_nothing_changes():
    net = network()
    before = none(net)
    before[units_of(net, "0.weight")[0]] = True
    silent(net, "0", list(range(6)))
    with torch.no_grad():
        for bias in ("2.bias", "4.bias"):
            dict(parameters_of(net))[bias].zero_()
    after = dead_units(net, before)
    assert np.array_equal(after, before) and after is not before


@pytest.mark.parametrize("name", ["mlp", "resnet", "transformer", "lstm"])
def test_the_graph_without_units_computes_what_zeros_compute(name):
    net, x = make(name)
    net = trace(net, x)
    axes = Axes(Evaluation(net))
    every = np.arange(count_units(net))
    roots = np.flatnonzero((axes.units.find(every) == every) & ~axes.units.is_frozen(every))
    dead = np.isin(axes.units.find(every), roots[::3])
    for node in net.graph.parameters:  # one unit of each axis stays
        for ids in axes.ids(Ref(node)):
            if ids is not None and dead[ids].all():
                dead[ids[0]] = False
    alive = without(net, dead)
    tensors = dict(parameters_of(net))
    small, zeros = {}, {}
    for key, tensor in tensors.items():
        part = tensor.detach()
        zeros[key] = masked(part, alive.kept[key])
        for axis, places in enumerate(alive.kept[key]):
            if places is not None:
                part = part.index_select(axis, torch.from_numpy(places))
        small[key] = part
    with torch.no_grad():
        assert_same(GraphNetwork(net.graph, zeros)(x), GraphNetwork(alive.graph, small)(x))
    assert sum(t.numel() for t in small.values()) < sum(t.numel() for t in tensors.values())


def test_masked():
    tensor = torch.ones(3, 2)
    kept = masked(tensor, (np.array([0, 2]), None))
    assert kept.tolist() == [[1, 1], [0, 0], [1, 1]] and masked(tensor, (None, None)) is tensor
