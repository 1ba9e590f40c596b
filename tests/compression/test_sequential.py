"""Layer after layer: prices, weights of several products, weights without inputs."""

import math

import pytest
import torch
from bitsback.compression.sequential import round_vectors, without_inputs
from torch import nn

from .calibration import FINE, calibrated, correlated, loss, perceptron


def test_at_a_tiny_price_the_network_stays():
    x = correlated(300, 8)
    found = calibrated(perceptron(), x)
    codes = found.quantised(FINE)
    assert set(codes) == {f"{i}.{what}" for i in (0, 2, 4) for what in ("weight", "bias")}
    assert loss(found, codes, x) < 1e-6


def test_more_price_is_more_loss_and_fewer_weights():
    x = correlated(300, 8)
    found = calibrated(perceptron(), x)
    runs = [found.quantised(rate) for rate in (1e-5, 1e-4, 1e-3)]
    losses = [loss(found, codes, x) for codes in runs]
    kept = [sum((codes[n].codes != 0).sum() for n in found.weights) for codes in runs]
    assert losses[0] < losses[1] < losses[2]
    assert kept[0] > kept[1] > kept[2]


class Shared(nn.Module):
    """One layer twice, an embedding, an LSTM, and a weight that nothing multiplies."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.lstm = nn.Embedding(7, 6), nn.LSTM(6, 6, batch_first=True)
        self.twice, self.head = nn.Linear(6, 6), nn.Linear(6, 2)
        self.places = nn.Parameter(torch.randn(5, 6))

    def forward(self, x):
        x = self.lstm(self.table(x) + self.places)[0]
        return self.head(self.twice(self.twice(x).relu()))


def test_weights_of_no_single_product_are_quantized_before():
    x = torch.randint(7, (60, 5))
    found = calibrated(Shared(), x)
    assert [layer.weight for layer in found.layers.values()] == ["head.weight"]
    assert {"table.weight", "twice.weight", "lstm.weight_ih_l0"} <= set(found.moments)
    assert found.blind == ["places"]
    codes = found.quantised(FINE)
    assert set(codes) == set(found.weights) | set(found.vectors)
    assert loss(found, codes, x) < 1e-4


def test_without_inputs_every_tensor_loses_the_same_share():
    small, large = torch.randn(40, 30), 100 * torch.randn(40, 30)
    codes = without_inputs({"small": small, "large": large}, 1e-5)
    shares = [
        float((torch.from_numpy(codes[name].values()) - w).square().mean() / w.square().mean())
        for name, w in (("small", small), ("large", large))
    ]
    assert shares[0] == pytest.approx(shares[1], rel=0.1)
    # A uniform quantizer's step^2 / 12 of the mean square, the step by `step_for` of s = 1 / total.
    assert shares[0] == pytest.approx(1e-5 * 2400 / math.log(2), rel=0.3)


def test_vectors_are_rounded_to_their_bits():
    vector = torch.randn(50)
    coded = round_vectors({"b": vector}, ["b"])["b"]
    assert abs(coded.codes).max() < 2**11
    assert torch.allclose(torch.from_numpy(coded.values()).float(), vector, atol=coded.grid.step)


def test_masks_keep_their_numbers():
    mask = torch.tril(torch.ones(9, 9))
    tensors = {"mask": mask, "far": (mask - 1) * 2.0**30, "zero": 0 * mask, "table": mask + 0.5}
    codes = without_inputs(tensors, 1.0)
    values = {name: torch.from_numpy(code.values()) for name, code in codes.items()}
    for name in ("mask", "far", "zero"):
        assert torch.equal(values[name], tensors[name])
    assert not torch.equal(values["table"], tensors["table"])
