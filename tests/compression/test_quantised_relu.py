"""The quantising ReLU: its codes, its bytes, and bytes that are none of it."""

import struct

import pytest
import torch
from bitsback.compression.architecture import Architecture
from bitsback.compression.describe import describe
from bitsback.compression.errors import CorruptFile
from bitsback.compression.quantised_relu import QuantisedReLU
from bitsback.compression.rewrites import quantise_activations
from bitsback.posterior import Grid, Posterior
from torch import nn


def test_codes_are_integers_up_to_the_largest():
    layer = QuantisedReLU(0.5, 2)
    x = torch.tensor([-3.0, 0.24, 0.25, 0.26, 0.75, 1.4, 9.0])
    assert layer.codes(x).tolist() == [0, 0, 0, 1, 2, 3, 3]
    assert layer(x).tolist() == [0, 0, 0, 0.5, 1, 1.5, 1.5]


def test_bytes():
    """Kind 36, the upper half of the step, the bits: four bytes, and all again."""
    net = nn.Sequential(QuantisedReLU(0.75, 4))
    data = describe(net).to_bytes()
    assert data[-4:] == bytes([36]) + struct.pack("<f", 0.75)[2:] + bytes([4])
    layer = Architecture.from_bytes(data).build()[0]
    assert layer.step == 0.75 and layer.bits == 4


@pytest.mark.parametrize("step", [0.0, -1.0, float("inf"), float("nan"), 1e-40])
def test_a_step_that_makes_no_sense_is_refused(step):
    data = describe(nn.Sequential(QuantisedReLU(0.75, 4))).to_bytes()
    bad = data[:-3] + struct.pack("<f", step)[2:] + data[-1:]
    with pytest.raises(CorruptFile, match="bfloat16"):
        Architecture.from_bytes(bad)


@pytest.mark.parametrize("bits", [0, 17, 127])
def test_bits_that_make_no_sense_are_refused(bits):
    data = describe(nn.Sequential(QuantisedReLU(0.75, 4))).to_bytes()
    with pytest.raises(CorruptFile, match=r"within 1\.\.16"):
        Architecture.from_bytes(data[:-1] + bytes([bits]))
    with pytest.raises(ValueError, match=r"within 1\.\.16"):
        QuantisedReLU(1.0, bits)


def test_a_step_that_a_file_cannot_hold_is_not_described():
    assert describe(nn.Sequential(QuantisedReLU(0.1, 4))).root is None
    with pytest.raises(ValueError, match="positive and finite"):
        QuantisedReLU(0.0, 4)


def test_activations_of_a_posterior():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    grid = Grid(step=torch.tensor(0.5), bits=torch.tensor(2))
    new = quantise_activations(net, Posterior({}, {"1": grid}))
    assert type(net[1]) is nn.ReLU and new[1].step == 0.5 and new[1].bits == 2
    for path, wrong in (("0", grid), ("1", Grid(step=torch.ones(2), bits=torch.tensor(2)))):
        with pytest.raises(ValueError, match=f"'{path}'"):
            quantise_activations(net, Posterior({}, {path: wrong}))
