"""Layer after layer: moments, layers that follow the original, shortcuts, biases."""

import math

import pytest
import torch
from bitsback.compression import layer_moments, sequential
from bitsback.compression.describe import describe
from bitsback.compression.rate_distortion import step_for
from bitsback.compression.rounding import with_weights
from bitsback.compression.sequential import (
    FEWEST_BITS,
    MOST_BITS,
    Calibrated,
    round_vectors,
    without_inputs,
)
from bitsback.graph import trace
from torch import nn
from torch.nn import functional as F

COARSE, FINE = 3e-3, 1e-10


def calibrated(net, x, likelihood="normal"):
    traced = trace(net.eval().requires_grad_(False), x[:2])
    specs = describe(traced).tensors()
    weights, vectors = ([s.name for s in specs if s.role == role] for role in ("weight", "bias"))
    return Calibrated(traced, x, weights, vectors, likelihood)


def correlated(n, columns):
    return torch.randn(n, columns) + 2 * torch.randn(n, 1) + 1


def loss(found, codes, x):
    with torch.no_grad():
        small = with_weights(found.network, codes)
        return float((small(x) - found.network(x)).square().mean())


def perceptron():
    return nn.Sequential(
        nn.Linear(8, 30), nn.ReLU(), nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 3)
    )


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


def test_layers_follow_the_original_through_the_errors_before_them(monkeypatch):
    x = correlated(400, 8)
    found = calibrated(perceptron(), x)
    rate = 5e-5  # at which no layer is all zeros
    following = loss(found, found.quantised(rate), x)
    moments = sequential.moments_with

    def alone(*given):
        second, cross = moments(*given)
        return second, torch.zeros_like(cross)

    monkeypatch.setattr(sequential, "moments_with", alone)
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
    monkeypatch.setattr(sequential._Streams, "_target", lambda self, node, _: self._given[node])
    assert with_it < 0.9 * loss(found, found.quantised(COARSE), x)


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


@pytest.mark.parametrize("centred", [True, False])
def test_moments_are_covariances_if_a_bias_takes_up_the_means(centred):
    x, rest = correlated(50, 6), torch.randn(50, 3) + 1
    traced = trace(nn.Linear(6, 3).eval(), x[:2])
    node = next(node for node in traced.graph.operators if node.operator == "linear")
    values = {
        ref.node: dict(traced.named_parameters()).get(ref.node.name, x) for ref in node.refs()
    }
    product = next(iter(sequential.OPERATORS["linear"].products(
        node, lambda what: values[what.node] if isinstance(what, sequential.Ref) else what
    )))  # fmt: skip
    part = slice(1, 5)
    a, cross = layer_moments.moments_with(product, rest[None], part, centred, 50)
    v = x[:, part]
    means = (v.mean(0), rest.mean(0)) if centred else (0, 0)
    second = (v - means[0]).T @ (v - means[0]) / 50
    if centred:
        second += layer_moments.STEADY * v.square().mean() * torch.eye(4)
    assert torch.allclose(a[0], second, atol=1e-5)
    assert torch.allclose(cross[0], (rest - means[1]).T @ (v - means[0]) / 50, atol=1e-5)


def test_moments_of_a_convolution_are_summed_over_positions():
    x, net = torch.randn(20, 2, 9), nn.Conv1d(2, 4, 3, bias=False)
    found = calibrated(net, x)
    seen = []
    whole = sequential.moments_with

    def spy(*arguments):
        seen.append(whole(*arguments))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequential, "moments_with", spy)
        found.quantised(FINE)
    vectors = F.unfold(x[:, :, None], (1, 3)).mT  # examples, positions, columns
    right = torch.einsum("npi,npj->ij", vectors, vectors) / 20
    assert torch.allclose(seen[0][0][0], right, atol=1e-4)


@pytest.mark.parametrize("total", [10, 8_192, 40_000, 10**6])
@pytest.mark.parametrize("columns", [1, 9, 576])
def test_of_many_vectors_an_odd_stride_keeps_enough(total, columns):
    stride = layer_moments._stride(total, columns)
    assert stride % 2 == 1
    assert total // stride >= min(total, max(40 * columns, 8_192))


def test_bits_of_a_bias_follow_the_price():
    for largest, weigh, rate in [(1.0, 0.5, 1e-4), (30.0, 2.0, 1e-5)]:
        step = step_for(torch.ones(1, 1), torch.tensor([weigh]), rate)
        bits = sequential._bias_bits(largest, weigh, rate)
        assert largest / 2 ** (bits - 1) <= step < largest / 2 ** (bits - 2)
    assert sequential._bias_bits(1.0, 1.0, 1e9) == FEWEST_BITS
    assert sequential._bias_bits(1.0, 1.0, 1e-30) == MOST_BITS


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


def test_covariances_of_inputs_far_from_zero_are_those_of_inputs_near_it():
    x, rest = correlated(3_000, 12), torch.randn(3_000, 3)
    traced = trace(nn.Linear(12, 3).eval(), x[:2])
    node = next(node for node in traced.graph.operators if node.operator == "linear")
    found = []
    for shift in (0.0, 1_000.0):
        values = {ref.node: x + shift for ref in node.refs()}
        values |= {r.node: torch.zeros(3, 12) for r in node.refs() if r.node.operator != "input"}
        product = next(iter(sequential.OPERATORS["linear"].products(
            node, lambda what, values=values: values.get(getattr(what, "node", None), what)
        )))  # fmt: skip
        moments = layer_moments.moments_with(product, rest[None] + shift, slice(0, 12), True, 3_000)
        found.append([part.double() for part in moments])
    (near, cross), (far, cross_far) = found
    far = far - (far - near).diagonal(dim1=1, dim2=2).mean() * torch.eye(12)  # STEADY
    torch.testing.assert_close(far, near, atol=1e-2, rtol=0)
    torch.testing.assert_close(cross_far, cross, atol=1e-2, rtol=0)


def test_masks_keep_their_numbers():
    mask = torch.tril(torch.ones(9, 9))
    tensors = {"mask": mask, "far": (mask - 1) * 2.0**30, "zero": 0 * mask, "table": mask + 0.5}
    codes = without_inputs(tensors, 1.0)
    values = {name: torch.from_numpy(code.values()) for name, code in codes.items()}
    for name in ("mask", "far", "zero"):
        assert torch.equal(values[name], tensors[name])
    assert not torch.equal(values["table"], tensors["table"])
