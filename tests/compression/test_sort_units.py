"""Hidden units in another order: the same function, whatever is between the layers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from bitsback.compression.archive import Archive, Quantised, Uniform
from bitsback.compression.codec import encode
from bitsback.compression.compress import compress
from bitsback.compression.file import network
from bitsback.compression.quantised_relu import QuantisedReLU
from bitsback.compression.sort_units import by_density, by_rows, shortest_order
from bitsback.graph import pick_inputs
from torch import nn

from .samples import archive
from .sequences import NETWORKS, sparsify, traced
from .test_compress import digits_like, mlp, posterior_of, trained


def counts(found: Archive, name: str) -> list[int]:
    """The weights of each unit."""
    codes = found.tensors[f"{name}.weight"].codes
    return np.count_nonzero(codes.reshape(len(codes), -1), axis=1).tolist()


CHAINS = {name: NETWORKS[name] for name in NETWORKS if name != "pool behind flatten"}


@pytest.mark.parametrize("percent", [5, 40])
@pytest.mark.parametrize("name", CHAINS)
def test_the_function_stays(name, percent):
    make, shape = CHAINS[name]
    net = traced(sparsify(make(), 1), shape, fold=True)
    first = archive(net, percent)
    x = torch.randn(5, *shape, dtype=torch.float64)
    expected = network(first)(x)
    falling, rising = by_density(first, net)
    for found in (falling, rising):
        torch.testing.assert_close(network(found)(x), expected, rtol=1e-10, atol=1e-10)


def test_a_choice_of_inputs_follows():
    net = nn.Sequential(
        nn.Conv2d(2, 9, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 12),
        nn.Tanh(), nn.Linear(12, 3),
    )  # fmt: skip
    with torch.no_grad():
        net[4].weight[:, torch.arange(36) % 3 == 0] = 0
    small = pick_inputs(traced(net, (2, 6, 6)), lambda weight, read: True).network
    first = archive(small, 40)
    x = torch.randn(5, 2, 6, 6, dtype=torch.float64)
    for found in by_density(first, small):
        torch.testing.assert_close(network(found)(x), network(first)(x))


def test_units_stand_by_density_and_the_last_ones_stay():
    net = traced(NETWORKS["lenet-5-caffe"][0](), (1, 28, 28))
    first = archive(net, 8)
    falling, rising = by_density(first, net)
    for name in ("0", "2", "5"):
        assert counts(falling, name) == sorted(counts(first, name), reverse=True)
        assert counts(rising, name) == sorted(counts(first, name)) != counts(first, name)
    assert counts(falling, "7") == counts(first, "7")
    assert falling.tensors["7.bias"] == first.tensors["7.bias"]


def test_units_of_like_density_keep_their_order():
    net = traced(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), (4,))
    first = archive(net)
    codes = np.array([[1, 0, 0, 0], [1, 2, 0, 0], [0, 0, 3, 0]])
    weight = replace(first.tensors["0.weight"], codes=codes)
    falling, _ = by_density(replace(first, tensors=first.tensors | {"0.weight": weight}), net)
    assert np.array_equal(falling.tensors["0.weight"].values(), weight.values()[[1, 0, 2]])


def test_steps_of_units_follow():
    net = traced(nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)), (6,))
    first = archive(net, 50)
    for name, shifts in (("0.weight", (0, 3, 1, 2)), ("2.weight", (2, 0))):
        tensor = Quantised(first.tensors[name].codes, Uniform(0.25, shifts))
        first = replace(first, tensors=first.tensors | {name: tensor})
    x = torch.randn(5, 6, dtype=torch.float64)
    for found in by_density(first, net):
        torch.testing.assert_close(network(found)(x), network(first)(x))
        assert sorted(found.tensors["0.weight"].grid.shifts) == [0, 1, 2, 3]


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.fc, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        x = torch.relu(self.first(x))
        return self.last(x + self.fc(x))


def test_the_channels_of_a_residual_stream_move_together():
    net = traced(Residual(), (4,))
    first = archive(net, 50)
    x = torch.randn(5, 4, dtype=torch.float64)
    for found in by_density(first, net):
        torch.testing.assert_close(network(found)(x), network(first)(x))
        both = np.add(counts(found, "first"), counts(found, "fc"))
        assert sorted(both) in (both.tolist(), both.tolist()[::-1])


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Linear(9, 5)),
        nn.Sequential(nn.Linear(9, 5), QuantisedReLU(0.5, 4), nn.Linear(5, 2)),
        nn.Sequential(nn.Linear(9, 5), nn.LayerNorm(5), nn.Linear(5, 2)),
    ],
    ids=["one layer", "quantised ReLU", "layer norm"],
)
def test_other_networks_are_left_alone(net):
    graph = traced(net, (9,))
    assert list(by_density(archive(graph), graph)) == []


def test_never_larger_and_the_smallest_of_all():
    saved = []
    for percent in (5, 20, 35, 60):
        net = traced(nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 5)), (12,))
        first = archive(net, percent)
        data = encode(first)
        again, found = shortest_order(data, first, net, lambda one, other: True)
        others = list(by_density(first, net))
        others += by_rows(others[0], net)
        sizes = [len(data), *(len(encode(other)) for other in others)]
        assert len(again) == min(sizes) and again == encode(found)
        assert found is first or len(again) < len(data)
        assert shortest_order(data, first, net, lambda one, other: False) == (data, first)
        saved.append(len(data) - len(again))
    assert max(saved) > 0


def test_compress_gives_the_smaller_file():
    torch.manual_seed(0)
    x, y = digits_like()
    net = trained(mlp(), x, y)
    options = {"validation": (x, y), "threshold": 3.0, "clusters": 8}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bitsback.compression.sort_units.by_density", lambda archive, net: ())
        plain = compress(net, posterior_of(net), **options)
    result = compress(net, posterior_of(net), **options)
    assert len(result.data) < len(plain.data)
    torch.testing.assert_close(result.network(x), plain.network(x))
    assert result.data == encode(result.archive)
    for one, other in zip(result.report["layers"], plain.report["layers"], strict=True):
        same = ("name", "kept", "total", "inputs", "outputs", "selected", "values")
        assert [one[key] for key in same] == [other[key] for key in same]
    published = compress(net, posterior_of(net), coder="huffman", **options)
    assert published.archive.tensors["1.weight"] == plain.archive.tensors["1.weight"]
