"""Whose units the columns of a weight are."""

import numpy as np
import pytest
import torch
from bitsback.compression import file
from bitsback.compression.archive import Archive, Quantised, Uniform
from bitsback.compression.describe import describe
from bitsback.graph import trace
from torch import nn

from .samples import archive, codebook, sparse
from .traced import quantised, traced


def lenders(name: str) -> dict[str, tuple[str, ...] | None]:
    described = describe(traced(name)[0]).described
    weights = [e.node.name for e in described.entries if e.role == "weight"]
    borrowers = [e.node.name for e in described.entries if e.role in ("weight", "mask")]
    found = {}
    for borrower, places in zip(borrowers, described.lenders, strict=True):
        found[borrower] = None if places is None else tuple(weights[n] for n in places)
    return found


def test_of_a_skip_connection_the_nearest():
    found = lenders("resnet")
    assert found["layers.2.shortcut.0.weight"] == ("layers.1.conv2.weight",)
    assert found["layers.1.conv1.weight"] is None  # layers.0.conv2, which is the one before


def test_of_a_concatenation_all():
    found = lenders("densenet")
    assert found["convs.1.weight"] == ("conv0.weight", "convs.0.weight")
    assert lenders("unet")["mix.weight"] == ("down1.weight", "up.weight")


def test_inputs_are_lent_nothing():
    assert lenders("gru")["gru.weight_ih_l0_reverse"] == ()


def swapped_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 12, 3), nn.ConvTranspose2d(12, 8, 3), nn.Conv2d(8, 8, 3)
    ).eval()


def test_steps_of_units_of_a_transposed_convolution():
    """They are its axis 0, though the coder takes axis 1 for the output units."""
    net = trace(swapped_net(), torch.zeros(2, 1, 9, 9))
    source = archive(net)
    codes = sparse((12, 8, 3, 3), 40, 3, 9)
    shifts = tuple(n % 3 for n in range(12))
    tensors = dict(source.tensors) | {"1.weight": Quantised(codes, Uniform(0.25, shifts))}
    source = Archive(source.architecture, tensors)
    again = file.decode(file.encode(source))
    assert again.tensors == tensors


def test_lenders_save_bytes():
    """A convolution whose dead inputs are those of the first layer, not of the one before it."""

    class Skipped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)
            self.c = nn.Conv2d(32, 32, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.relu(self.a(x))
            return self.b(y), self.c(y)

    net = trace(Skipped(), torch.zeros(2, 3, 8, 8))
    source = archive(net)
    live = np.arange(32) % 3 == 0
    tensors = dict(source.tensors)
    tensors["a.weight"] = Quantised(
        sparse((32, 3, 3, 3), 70, 3, 1) * live[:, None, None, None], codebook(4, 5)
    )
    for name, seed in (("b.weight", 2), ("c.weight", 3)):
        codes = sparse((32, 32, 3, 3), 20, 3, seed) * live[None, :, None, None]
        tensors[name] = Quantised(codes, codebook(4, 5))
    sizes = []
    for places in (None, (0,)):
        source.architecture.described.lenders[2] = places
        fresh = type(source.architecture)(source.architecture.described)
        data = file.encode(Archive(fresh, tensors))
        assert file.decode(data).tensors == tensors
        sizes.append(len(data))
    assert sizes[1] < sizes[0] - 5, sizes


@pytest.mark.parametrize("name", ["resnet", "unet", "gpt"])
def test_lenders_of_archives_decode(name):
    data = file.encode(quantised(name))
    assert file.encode(file.decode(data)) == data
