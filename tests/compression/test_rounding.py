"""Biases and codebooks as coarse as the margins let them be, whatever else misses them."""

import numpy as np
import pytest
import torch
from bitsback.compression.archive import Codebook, Quantised, Uniform, mantissa_bits, storable
from bitsback.compression.reference import reference_of
from bitsback.compression.rounding import (
    BIAS_BITS,
    biases_of,
    round_biases,
    round_codebooks,
    with_weights,
)
from bitsback.compression.scores import Rise
from bitsback.compression.uniform import bias
from bitsback.posterior import Posterior, WeightPosterior
from torch import nn


def trial_of(margin: float, sureness: float = 1.0):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 9), nn.ReLU(), nn.Linear(9, 3))
    net[4].weight.data.mul_(sureness)
    x = torch.randn(600, 6)
    y = net(x).argmax(1)
    weight = net[4].weight.detach()
    given = Posterior({"4.weight": WeightPosterior(weight, 0 * weight, torch.ones(()))})
    return reference_of(net, given, x, y, "categorical", margin, 100.0, None)


@pytest.mark.parametrize("margin", [0.02, 0.002])
def test_the_largest_biases_are_as_coarse_as_the_margins_let_them_be(margin):
    """By hand: the others as good as floats; then the others, with these as they are then."""
    trial = trial_of(margin)
    biases = biases_of(trial.net)
    found, coded, rise = round_biases(trial, trial.net, biases)
    assert trial.fits(rise) and rise == trial.rise(found)
    by_hand = {name: bias(values, 16) for name, values in biases.items()}
    for name in ("0.bias", "2.bias", "4.bias"):
        for bits in BIAS_BITS:
            by_hand[name] = bias(biases[name], bits)
            if trial.fits(trial.rise(with_weights(trial.net, by_hand))):
                break
        assert coded[name] == by_hand[name] and bits < 16


def size(coded) -> int:
    return sum(
        grid.codes.size * (int(abs(grid.codes).max()) + 1).bit_length() for grid in coded.values()
    )


@pytest.mark.parametrize("share", [0.9, 0.3])
def test_where_every_grid_misses_biases_are_still_coarse_and_no_worse(share):
    trial = trial_of(1e-6, sureness=20.0)
    worse = with_weights(trial.net, {})
    with torch.no_grad():
        worse[4].weight.mul_(share)
    biases = biases_of(worse)
    fine = {name: bias(values, 16) for name, values in biases.items()}
    before = trial.rise(with_weights(worse, fine))
    assert not trial.fits(before)
    found, coded, rise = round_biases(trial, worse, biases)
    assert rise == trial.rise(found) and not trial.fits(rise)
    assert rise.nll <= before.nll and rise.error <= before.error
    assert size(coded) < 0.8 * size(fine)


class Told:
    """A trial whose rises are told by the bits of three biases, largest tensor first."""

    def __init__(self, rises):
        self.rises = rises

    def fits(self, rise):
        return rise.nll <= 0

    def rise(self, net):
        return Rise(self.rises(tuple(self.bits(b) for b in (net[0].bias, net[1].bias))), 0, 0, 0)

    def bits(self, values):
        return next(b for b in BIAS_BITS if values.equal(self.grids[len(values), b]))


def told(rises):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 7), nn.Linear(7, 5)).requires_grad_(False)
    trial = Told(rises)
    biases = biases_of(net)
    trial.grids = {
        (len(values), b): torch.from_numpy(bias(values, b).values()).float()
        for values in biases.values()
        for b in BIAS_BITS
    }
    found, coded, rise = round_biases(trial, net, biases)
    assert rise == trial.rise(found)
    assert all(coded[n].values().size == len(v) for n, v in biases.items())
    return tuple(trial.bits(layer.bias) for layer in found)


def test_a_coarse_grid_that_fits_is_taken_though_a_fine_one_misses():
    """Rounding moves predictions either way: 16 bits miss by chance what 6 and 5, 4 do not."""
    assert told(lambda bits: -1.0 if bits in ((6, 6), (5, 6), (5, 4)) else 1.0) == (5, 4)
    assert told(lambda bits: -1.0 if bits in ((6, 6), (8, 8)) else 1.0) == (6, 6)


def test_where_none_fits_none_is_worse_than_the_finest():
    assert told(lambda bits: 1.0 + (bits[0] < 4) + (bits[1] < 7)) == (4, 7)
    assert told(lambda bits: 2.0 - (bits == (16, 16))) == (16, 16)


def test_a_network_without_biases():
    trial = trial_of(0.02)
    found, coded, rise = round_biases(trial, trial.net, {})
    assert coded == {} and rise == trial.rise(found)


class Needing:
    """A trial whose margins ask for so many bits behind the leading one of a first weight."""

    def __init__(self, bits):
        self.needed = bits

    def fits(self, rise):
        return rise.nll <= 0

    def rise(self, net):
        return Rise(self.needed - mantissa_bits(net[0].weight.numpy()), 0, 0, 0)


def on_codebooks() -> tuple[nn.Module, dict[str, Quantised]]:
    """A network, and its weights: the first two on values of 7 bits, the last on a step."""
    torch.manual_seed(0)
    layers = (nn.Linear(6, 40, False), nn.Linear(40, 9, False), nn.Linear(9, 3, False))
    net = nn.Sequential(*layers).requires_grad_(False)
    codes = {}
    for name, weight in net.state_dict().items():
        side = storable(np.quantile(abs(weight.numpy()), (0.1, 0.4, 0.7, 0.95)))
        found = abs(abs(weight.numpy())[..., None] - side).argmin(-1) + 1
        codes[name] = Quantised(found * np.sign(weight.numpy()).astype(int), Codebook(-side, side))
    codes["2.weight"] = Quantised(codes["2.weight"].codes, Uniform(0.0390625))
    return with_weights(net, codes), codes


@pytest.mark.parametrize("bits", [0, 2, 6])
def test_codebooks_have_as_few_bits_as_the_margins_let_them(bits):
    net, codes = on_codebooks()
    trial = Needing(bits)
    found, coded, rise = round_codebooks(trial, net, codes, trial.rise(net))
    assert rise == trial.rise(found) and coded["2.weight"] == codes["2.weight"]
    assert coded["0.weight"].grid.bits() == bits >= coded["1.weight"].grid.bits()
    for name, before in codes.items():
        values = found.state_dict()[name].numpy()
        assert np.array_equal(values, coded[name].values())
        if name != "2.weight":
            assert np.array_equal(values, storable(before.values(), bits))


@pytest.mark.parametrize("bits", [7, 8])
def test_codebooks_that_the_margins_leave_no_bit_stay(bits):
    net, codes = on_codebooks()
    rise = Needing(bits).rise(net)
    assert round_codebooks(Needing(bits), net, codes, rise) == (net, codes, rise)
