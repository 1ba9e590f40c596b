"""Layouts of weights: as today's coder has it for chains, and through joins and grouped kernels."""

import numpy as np
import pytest
import torch
from bitsback.compression.geometry import flat_geometry, kernel_geometry
from bitsback.graph import parameters_of, trace
from bitsback.graph.lenders import Layout, layouts
from torch import nn

from .networks import make


def found(net: nn.Module, x) -> dict[str, Layout]:
    network = trace(net, x)
    return layouts(network.graph, {n: tuple(t.shape) for n, t in parameters_of(network)})


def lenders(layout: Layout) -> list[set[str]]:
    return [{name for name, _ in rows} for rows in layout.lenders]


@pytest.mark.parametrize("name", ["lenet", "mlp", "vgg"])
def test_chains_are_laid_out_as_by_their_shapes(name):
    """Each layer reads the rows of the one before, in the coder's geometry."""
    net, x = make(name)
    before, units = None, 0
    for weight, layout in found(net, x).items():
        if not weight.endswith("weight"):
            continue
        shape = tuple(net.get_parameter(weight).shape)
        of = flat_geometry(shape[1], units) if len(shape) == 2 else None
        of = kernel_geometry(shape[1], shape[2:]) if of is None else of
        assert (layout.channels, layout.lines * layout.width) == (of.groups, of.taps)
        assert not layout.swapped and layout.kept is None
        expected = tuple(((before, i),) for i in range(units)) if before else ()
        assert layout.lenders == expected
        if of.spatial:
            row = np.flatnonzero(of.around[:, 1] == 0)  # the tap whose upper neighbour is tap 0
            assert layout.lines == 1 or row.tolist() == [layout.width]
        before, units = weight, shape[0]


def test_joins():
    """Sums have the rows of all, concatenations one after the other, depthwise kernels theirs."""
    of = found(*make("resnet"))
    stem, first, second = "conv.weight", "layers.0.conv2.weight", "layers.1.conv2.weight"
    assert lenders(of["layers.2.conv1.weight"]) == [{stem, first, second}] * 8
    assert of["layers.2.conv1.weight"].lenders[3][-1] == (stem, 3)
    of = found(*make("densenet"))
    assert lenders(of["convs.1.weight"]) == [{"conv0.weight"}] * 6 + [{"convs.0.weight"}] * 4
    assert of["convs.1.weight"].lenders[7] == (("convs.0.weight", 1),)
    of = found(*make("mobilenet"))
    assert of["depthwise.weight"] == Layout(False, 1, 3, 3)
    inner = {"expand.weight", "depthwise.weight", "excite.weight"}
    assert lenders(of["project.weight"]) == [inner] * 24
    of = found(*make("padded-resnet"))
    both = {"conv1.weight", "conv2.weight"}
    assert lenders(of["fc.weight"]) == [{"conv2.weight"}] * 3 + [both] * 6 + [{"conv2.weight"}] * 3


def test_swapped_axes_and_gates():
    of = found(*make("unet"))
    assert of["up.weight"].swapped and (of["up.weight"].channels, of["up.weight"].lines) == (8, 2)
    assert of["mix.weight"].lenders[6:] == tuple((("up.weight", i),) for i in range(6))
    of = found(*make("lstm"))
    assert of["embed.weight"] == Layout(True, 13)
    assert of["lstm.weight_ih_l0"].lenders[2] == (("embed.weight", 2),)
    gates = [(f"lstm.weight_{part}_l0", row) for part in ("ih", "hh") for row in (1, 9, 17, 25)]
    assert list(of["lstm.weight_ih_l1"].lenders[1]) == gates
    assert lenders(of["fc.weight"]) == [{"lstm.weight_ih_l1", "lstm.weight_hh_l1"}] * 8


def test_only_earlier_weights_lend_and_all_or_none():
    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.after, self.before = nn.Linear(4, 2), nn.Linear(3, 4)

        def forward(self, x):
            return self.after(torch.relu(self.before(x)))

    assert found(Late(), torch.randn(2, 3))["after.weight"] == Layout(False, 4)
    shapes = [found(*make(name)) for name in ("transformer", "gpt", "vit", "shufflenet", "signal")]
    for of in shapes:
        order = list(of)
        for name, layout in of.items():
            assert not layout.lenders or all(layout.lenders)
            assert len(layout.lenders) in (0, layout.channels)
            for rows in layout.lenders:
                assert all(order.index(lender) < order.index(name) for lender, _ in rows)


def test_inputs_that_are_images():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 5, 2))
    assert found(flat, torch.randn(2, 3, 4, 5))["1.weight"] == Layout(False, 3, 4, 5)
    assert found(flat, torch.randn(2, 60))["1.weight"] == Layout(False, 1, 1, 60)
    assert found(nn.Sequential(nn.Linear(60, 2)), torch.randn(2, 60))["0.weight"] == Layout(
        False, 1, 1, 60
    )
    colour = nn.Sequential(nn.Linear(48, 2))
    assert found(colour, torch.randn(2, 48))["0.weight"] == Layout(False, 3, 4, 4)
    assert found(colour, torch.randn(2, 7, 48))["0.weight"] == Layout(False, 48)
