"""Layers that follow the original, shortcuts, biases; the same in parts and in files."""

import pytest
import torch
from bitsback.compression import feature_maps, sequential, side_by_side
from bitsback.compression.rate_distortion import step_for
from bitsback.compression.rounding import with_weights
from torch import nn
from torch.nn import functional as F

from .calibration import COARSE, FINE, calibrated, correlated, loss, perceptron


def test_layers_follow_the_original_through_the_errors_before_them(monkeypatch):
    x = correlated(400, 8)
    found = calibrated(perceptron(), x)
    rate = 5e-5  # at which no layer is all zeros
    following = loss(found, found.quantised(rate), x)
    moments = side_by_side.moments_with

    def alone(*given):
        second, cross = moments(*given)
        return second, torch.zeros_like(cross)

    monkeypatch.setattr(side_by_side, "moments_with", alone)
    assert following < 0.9 * loss(found, found.quantised(rate), x)


def test_a_bias_takes_up_the_mean_of_the_error():
    x = correlated(400, 8)
    found = calibrated(nn.Sequential(nn.Linear(8, 5)), x)
    codes = found.quantised(COARSE)
    with torch.no_grad():
        error = with_weights(found.network, codes)(x) - found.network(x)
    mean, step = error.mean(0).abs(), codes["0.bias"].grid.step
    assert float(mean.max()) <= step / 2 + 1e-5
    assert float(error.std()) > 2 * float(mean.max())


class Residual(nn.Module):
    """y + b(relu(y)), y the outputs of a."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        y = self.a(x)
        return y + self.b(y.relu())


def test_a_layer_beside_a_shortcut_makes_up_for_its_error(monkeypatch):
    x = correlated(400, 8)
    found = calibrated(Residual(), x)
    shortcuts = {layer.weight: layer.shortcut for layer in found.layers.values()}
    assert shortcuts["a.weight"] is None
    assert shortcuts["b.weight"].node.operator == "linear"
    with_it = loss(found, found.quantised(COARSE), x)
    monkeypatch.setattr(side_by_side, "_target", lambda part, node, _: part.given[node])
    assert with_it < 0.9 * loss(found, found.quantised(COARSE), x)


def test_moments_of_a_convolution_are_summed_over_positions():
    x, net = torch.randn(20, 2, 9), nn.Conv1d(2, 4, 3, bias=False)
    found = calibrated(net, x)
    seen = []
    whole = side_by_side.moments_with

    def spy(*arguments):
        seen.append(whole(*arguments))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(side_by_side, "moments_with", spy)
        found.quantised(FINE)
    vectors = F.unfold(x[:, :, None], (1, 3)).mT  # examples, positions, columns
    right = torch.einsum("npi,npj->ij", vectors, vectors) / 20
    assert torch.allclose(seen[0][0][0], right, atol=1e-4)


def test_bits_of_a_bias_follow_the_price():
    for largest, weigh, rate in [(1.0, 0.5, 1e-4), (30.0, 2.0, 1e-5)]:
        step = step_for(torch.ones(1, 1), torch.tensor([weigh]), rate)
        bits = side_by_side._bias_bits(largest, weigh, rate)
        assert largest / 2 ** (bits - 1) <= step < largest / 2 ** (bits - 2)
    assert side_by_side._bias_bits(1.0, 1.0, 1e9) == side_by_side.FEWEST_BITS
    assert side_by_side._bias_bits(1.0, 1.0, 1e-30) == side_by_side.MOST_BITS


class Convolutional(nn.Module):
    """Convolutions beside a shortcut, in groups and one that is transposed; BatchNorm; sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.side = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.up, self.head = nn.ConvTranspose2d(8, 4, 2, stride=2), nn.Linear(4, 3)

    def forward(self, x):
        x = self.norm(self.first(x)).relu()
        x = self.up((x + self.side(x)).relu())
        return self.head(x.flatten(2).mean(2))


@pytest.mark.parametrize("size", [1, 7, 16])
def test_examples_in_parts_and_maps_in_files_change_nothing(monkeypatch, size):
    torch.manual_seed(0)
    x, net = torch.randn(30, 2, 6, 6), Convolutional()
    whole = calibrated(net, x)
    right = whole.quantised(1e-5)
    assert len(whole.inputs) == 1
    assert not whole.maps.spills
    monkeypatch.setattr(sequential, "batch_of", lambda *_: size)
    monkeypatch.setattr(feature_maps, "IN_MEMORY", 0)
    monkeypatch.setattr(feature_maps, "LEAST", 0)
    parts = calibrated(net, x)
    assert len(parts.inputs) > 1
    assert parts.maps.spills
    found = parts.quantised(1e-5)
    for name, code in right.items():
        same = (code.codes == found[name].codes).mean()
        assert same > 0.98, name  # sums in another order: a tie may fall the other way
