"""Units sorted by rows: the same function, and a file that does not pay for their order."""

import pytest
import torch
from bitsback.compression.archive import Archive
from bitsback.compression.file import decode, encode, network
from bitsback.compression.quantised_relu import QuantisedReLU
from bitsback.compression.sort_units import by_density, by_rows
from bitsback.graph import GraphNetwork
from torch import nn

from .samples import archive
from .sequences import NETWORKS, sparsify, traced

CHAINS = {name: NETWORKS[name] for name in NETWORKS if name != "pool behind flatten"}


def by_falling_density(net: GraphNetwork, percent: int = 40) -> Archive:
    first = archive(net, percent)
    return next(by_density(first, net), first)


def equal(one: object, other: object) -> bool:
    return one.tobytes() == other.tobytes() if hasattr(one, "tobytes") else one == other


@pytest.mark.parametrize("name", CHAINS)
def test_the_function_stays_and_comes_back_from_the_file(name):
    make, shape = CHAINS[name]
    net = traced(sparsify(make(), 1), shape, fold=True)
    first = by_falling_density(net)
    x = torch.randn(5, *shape, dtype=torch.float64)
    expected = network(first)(x)
    for found in by_rows(first, net):
        torch.testing.assert_close(network(found)(x), expected, rtol=1e-10, atol=1e-10)
        again = decode(encode(found))
        assert again.sorted == found.sorted != {}
        assert all(equal(again.tensors[key], tensor) for key, tensor in found.tensors.items())


def test_all_hidden_layers_are_sorted_and_the_last_one_is_not():
    make, shape = NETWORKS["lenet-5-caffe"]
    net = traced(make(), shape)
    found = next(by_rows(by_falling_density(net), net))
    assert found.sorted == {"0.weight": 1, "2.weight": 1, "5.weight": 1}


def test_a_layer_of_more_rows_than_a_group_may_have():
    """2,100 rows are four groups of at most 1,024, however few are asked for."""
    net = traced(nn.Sequential(nn.Linear(3, 2100), nn.ReLU(), nn.Linear(2100, 2)), (3,))
    found = list(by_rows(by_falling_density(net), net))
    assert [archive.sorted for archive in found] == [{"0.weight": 4}, {"0.weight": 8}]
    assert decode(encode(found[0])).sorted == {"0.weight": 4}


class Stream(nn.Module):
    """A residual stream with three producers."""

    def __init__(self):
        super().__init__()
        self.stem, self.a, self.b = nn.Conv2d(1, 12, 3), nn.Conv2d(12, 12, 1), nn.Conv2d(12, 12, 1)
        self.head = nn.Linear(12, 3)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.a(x).relu()
        x = x + self.b(x).relu()
        return self.head(x.mean((2, 3)))


def test_a_residual_stream_is_sorted_once():
    net = traced(Stream(), (1, 8, 8))
    first = by_falling_density(net)
    found = next(by_rows(first, net))
    assert found.sorted == {"stem.weight": 1}
    x = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(network(found)(x), network(first)(x))


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Linear(9, 5)),
        nn.Sequential(nn.Linear(9, 40), QuantisedReLU(0.5, 4), nn.Linear(40, 2)),
        nn.Sequential(nn.Linear(9, 4), nn.ReLU(), nn.Linear(4, 2)),
    ],
    ids=["one layer", "tied to their places", "too few units to pay"],
)
def test_nothing_to_sort(net):
    graph = traced(net, (9,))
    first = archive(graph)
    if not any(isinstance(layer, QuantisedReLU) for layer in net):
        assert list(by_rows(first, graph)) == []
    else:
        assert list(by_density(first, graph)) == []  # so `compress` never comes to sorting
