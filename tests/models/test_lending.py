"""What weights are lent: degrees of units, over joins, masks and removed channels."""

import math

import pytest
import torch
from bitsback.graph import trace
from bitsback.graph.lenders import Layout
from bitsback.models.lending import Lending, graph_layouts, shape_layout, shape_layouts

from ..graph.networks import make


def test_layouts_of_chains_are_the_same_by_shapes_and_by_the_graph():
    for name in ("lenet", "mlp", "vgg"):
        net, x = make(name)
        network = trace(net, x)
        names = [k for k, p in network.named_parameters() if p.dim() > 1]
        shapes = {k: network.get_parameter(k).shape for k in names}
        assert graph_layouts(network, names) == shape_layouts(shapes)


def test_what_cannot_be_told_is_not_lent():
    assert shape_layout((4, 1, 3, 3), 3, "a").lenders == ()  # of groups: not the coder's
    assert shape_layout((4, 7), 3, "a").lenders == ()
    assert shape_layout((4, 6), 3, "a").lenders == ((("a", 0),), (("a", 1),), (("a", 2),))
    assert shape_layout((9,), 3, "a") == Layout(False, 9)


def test_degrees_are_lent_to_channels_and_blocks():
    before = torch.tensor([[1.0, 2.0], [0.0, 0.0], [0.0, -1.0]])
    expected = [math.log(n / 3) for n in (4, 2, 3)]  # two more for each; their mean is 3
    for shape in ((4, 3, 2, 2), (4, 12)):
        layouts = {"a": shape_layout((3, 2)), "b": shape_layout(shape, 3, "a")}
        levels = {"a": before, "b": torch.zeros(shape)}
        degree = Lending(layouts).degree("b", levels)
        assert degree.tolist() == pytest.approx([e for e in expected for _ in range(4)])
        assert Lending(layouts).degree("a", levels) is None
        left = torch.arange(12) >= 4
        assert Lending(layouts).degree("b", levels, left)[4].item() == pytest.approx(math.log(0.8))


def test_all_weights_that_write_into_a_channel_lend_to_it():
    """Of a residual stream, and of weights whose rows are their second axis."""
    net, x = make("resnet")
    network = trace(net, x)
    names = [k for k, p in network.named_parameters() if p.dim() > 1]
    lending = Lending(graph_layouts(network, names))
    levels = {k: torch.zeros_like(network.get_parameter(k)) for k in names}
    levels["conv.weight"][0, :, 0, 0] = 1
    levels["layers.0.conv2.weight"][0, :2, 0, 0] = 1
    levels["layers.0.conv2.weight"][3, 0, 0, 0] = 1
    more = lending.degree("layers.1.conv1.weight", levels)[::9].exp()
    assert (more / more[1] * 2).tolist() == pytest.approx([7, 2, 2, 3, 2, 2, 2, 2])
    net, x = make("unet")
    network = trace(net, x)
    layouts = graph_layouts(network, ["down1.weight", "up.weight", "mix.weight"])
    levels = {k: torch.zeros_like(network.get_parameter(k)) for k in layouts}
    levels["up.weight"][:, 5, 0, 0] = 1
    more = Lending(layouts).degree("mix.weight", levels)[::9].exp()
    assert (more / more[0] * 2).tolist() == pytest.approx([2] * 11 + [10])


def test_weights_without_integers_lend_nothing():
    net, x = make("mlp")
    layouts = graph_layouts(trace(net, x), ["2.weight"])
    assert Lending(layouts).degree("2.weight", {"2.weight": torch.zeros(7, 14)}) is None
