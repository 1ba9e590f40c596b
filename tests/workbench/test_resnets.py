"""The residual networks have the published sizes and names."""

import torch
from bitsback.workbench.networks import network


def test_names_are_those_of_published_checkpoints():
    names = network("resnet-20").state_dict().keys()
    assert {"conv1.weight", "bn1.running_var", "layer2.0.conv1.weight", "linear.bias"} <= names
    assert not any("norm" in name for name in names)


def test_a_padded_shortcut_adds_channels_of_zeros():
    block = network("resnet-20").layer2[0]
    short = block._short(torch.ones(1, 16, 4, 4))
    assert short.shape == (1, 32, 2, 2)
    assert short[:, 8:24].eq(1).all() and short[:, :8].eq(0).all() and short[:, 24:].eq(0).all()
