"""A graph's ReLUs that quantise while it trains, and where each weight's inputs come from."""

import copy

import torch
from bitsback.distributions.quantiser import quantised_relu
from bitsback.graph import trace, weight_names
from bitsback.models.gated_graph import GatedGraph
from bitsback.models.gated_relu import gated, inputs_of, put_in
from bitsback.models.ranges import measured
from torch import nn
from torch.nn import functional as F

from ..graph.networks import make


def test_inputs_of_a_residual_network():
    """Behind an addition the ReLU is known, and the units are not."""
    net, x = make("resnet")
    network = trace(net, x)
    found = inputs_of(network, tuple(weight_names(network)))
    assert found["conv.weight"] == (None, None)
    assert found["layers.0.conv1.weight"] == ("relu", "conv.weight")
    assert found["layers.0.conv2.weight"] == ("layers.0", "layers.0.conv1.weight")
    assert found["layers.2.conv1.weight"] == found["layers.2.shortcut.0.weight"]
    assert found["layers.2.conv1.weight"] == ("layers.1~2", None)
    assert found["fc.weight"] == ("layers.3~2", None)  # through a mean over all places


def test_inputs_of_a_sequence_are_those_of_its_graph():
    net, x = make("lenet")
    names = tuple(name for name, p in net.named_parameters() if p.dim() > 1)
    assert inputs_of(trace(net, x), names) == inputs_of(net, names)
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 4), nn.Tanh(),
        nn.Linear(4, 2),
    )  # fmt: skip
    names = ("0.weight", "4.weight", "6.weight")
    expected = {
        "0.weight": (None, None), "4.weight": ("1", "0.weight"), "6.weight": (None, "4.weight"),
    }  # fmt: skip
    assert inputs_of(net, names) == expected
    assert inputs_of(trace(net, torch.randn(2, 1, 6, 6)), names) == expected


def test_what_cannot_be_told_is_not():
    """A concatenation has several grids; a weight that two layers read has several inputs."""
    net, x = make("unet")
    network = trace(net, x)
    assert inputs_of(network, ("mix.weight",))["mix.weight"] == (None, None)
    net, x = make("two-inputs")
    found = inputs_of(trace(net, x), ("shared.weight", "mix.weight"))
    assert set(found.values()) == {(None, None)}


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 3, 3), nn.Linear(3, 2)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.a(x)), 2)
        y = F.relu(self.b(x))
        return self.c((F.max_pool2d(y, 2) + F.avg_pool2d(y, 2)).flatten(1))


def test_gates_compute_what_the_relus_do():
    """With the pooling that alone reads a ReLU in front of it, and no other."""
    torch.manual_seed(0)
    net, x = Pooled(), torch.randn(4, 1, 10, 10)
    network = trace(net, x)
    made = put_in(network, ["relu", "relu~2"])
    assert type(made) is GatedGraph and list(gated(made, ["relu~2"])) == ["relu~2"]
    kinds = [node.operator for node in made.graph.operators]
    assert kinds[:5] == ["conv2d", "max_pool2d", "relu", "conv2d", "relu"]
    torch.testing.assert_close(made(x), net(x), rtol=0, atol=0)
    step = torch.tensor(0.3)
    for gate in gated(made, ["relu", "relu~2"]).values():
        gate.quantiser = lambda x: quantised_relu(x, step, 2)
    found = made(x)
    assert not torch.equal(found, net(x))
    torch.testing.assert_close(copy.deepcopy(made)(x), found, rtol=0, atol=0)
    for gate in gated(made, ["relu", "relu~2"]).values():
        gate.quantiser = None
    torch.testing.assert_close(made(x), net(x), rtol=0, atol=0)


def test_measured_as_a_sequence_is():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5), nn.ReLU(),
        nn.Linear(5, 2),
    )  # fmt: skip
    x = torch.randn(6, 1, 9, 9)
    weights = {name: p for name, p in net.named_parameters() if p.dim() > 1}
    a, b = (measured(n, weights, ["1", "4"], x) for n in (net, trace(net, x)))
    assert a.macs == b.macs and a.largest == b.largest and a.mean == b.mean
