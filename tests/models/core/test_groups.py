"""Which weights share a scale, along which axes groups lie, and which draws layers can use."""

import pytest
import torch
from bitsback.graph import trace
from bitsback.models.core.groups import groups_of
from torch import nn

from ...graph import networks

IMAGE = (2, 3, 8, 8)
#: By network: shape of its input, and the weights that use the scale of another.
SHARED = {
    "ResNet": (
        IMAGE,
        {
            "layers.0.conv2.weight": "conv.weight",
            "layers.1.shortcut.0.weight": "layers.1.conv2.weight",
            "fc.weight": "layers.1.conv2.weight",  # its inputs are the stream's channels
        },
    ),
    "PaddedResNet": (IMAGE, {"fc.weight": "conv2.weight"}),  # conv1 has some of the channels only
    "MobileNet": (
        IMAGE,
        {
            "depthwise.weight": "expand.weight",
            "excite.weight": "expand.weight",
            "project.weight": "stem.0.weight",
            "head.3.weight": "stem.0.weight",
        },
    ),
    "DenseNet": (IMAGE, {}),
    "UNet": ((2, 1, 8, 8), {}),
    "Transformer": ((2, 5, 6), {}),  # layer norms need the whole stream
}


def groups(net: nn.Module, x: torch.Tensor | None = None):
    net = net if x is None else trace(net.eval(), x)
    weights = {name: p for name, p in net.named_parameters() if p.dim() > 1}
    return groups_of(net, weights)


@pytest.mark.parametrize("name", SHARED)
def test_owners(name):
    shape, shared = SHARED[name]
    found = groups(
        networks.ResNet(blocks=1) if name == "ResNet" else getattr(networks, name)(),
        torch.zeros(shape),
    )
    assert {k: owner for k, owner in found.owners.items() if k != owner} == shared
    assert not found.whole
    for other, owner in shared.items():
        assert found.count(other) == found.count(owner) and other in found.members(owner)


def test_the_order_of_the_weights_does_not_matter():
    net = trace(networks.MobileNet().eval(), torch.zeros(IMAGE))
    weights = {name: p for name, p in reversed([*net.named_parameters()]) if p.dim() > 1}
    found = groups_of(net, weights)
    assert [*found.owners] == [*weights]
    assert found.owners["head.3.weight"] == "stem.0.weight"


def test_a_network_without_a_graph_shares_nothing():
    found = groups(networks.ResNet())
    assert all(name == owner for name, owner in found.owners.items())


def test_vectors_have_scales_of_their_own():
    """A latent bias has the units of its layer's outputs, but is no weight of them."""
    net = trace(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten()), torch.zeros(IMAGE))
    found = groups_of(net, dict(net.named_parameters()))
    assert found.owners == {"0.weight": "0.weight", "0.bias": "0.bias"}


def test_groups_of_a_transposed_convolution_are_its_output_maps():
    net = networks.UNet()
    x = torch.zeros(2, 1, 8, 8)
    assert groups(net, x).axes["up.weight"] == 1 and groups(net).axes["up.weight"] == 0
    values = torch.arange(6.0)
    assert groups(net, x).along("up.weight", values).shape == (1, 6, 1, 1)
    assert groups(net, x).along("up.weight", values.expand(3, 6)).shape == (3, 1, 6, 1, 1)
    grouped = nn.ConvTranspose2d(4, 8, 2, groups=2)
    assert groups(grouped, torch.zeros(2, 4, 3, 3)).axes["weight"] == 0


class Sum(nn.Module):
    """Two layers whose outputs are added, behind one that makes their inputs."""

    def __init__(self, left: nn.Module, right: nn.Module):
        super().__init__()
        self.left, self.right, self.head = left, right, nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.head(torch.relu(self.left(x) + self.right(x))).mean((2, 3))


class Flattened(nn.Module):
    """A dense layer that has examples and positions in one axis, and one that has not."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(3, 4)
        self.inner, self.outer = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        hidden = torch.relu(self.embed(x))
        return self.outer(hidden) + self.inner(hidden.reshape(-1, 4)).reshape(hidden.shape)[..., :2]


def test_layers_that_cannot_draw_for_each_example_make_it_one_draw_for_the_batch():
    both = groups(Sum(nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 3, padding=1)), torch.zeros(IMAGE))
    assert both.owners["right.weight"] == "left.weight" and not both.whole
    up = groups(Sum(nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(3, 4, 1)), torch.zeros(IMAGE))
    assert up.owners["right.weight"] == "left.weight" and up.whole == {"left.weight"}
    flat = groups(Flattened(), torch.zeros(2, 5, 3))
    assert flat.owners["outer.weight"] == flat.owners["inner.weight"]
    assert flat.whole == {flat.owners["outer.weight"]}
