"""Any network becomes a model: which weights, which sites, what is touched and what is not."""

import copy
import math

import pyro
import pytest
import torch
from bitsback.guides import ELBO, MeanFieldNormal
from bitsback.methods import METHODS
from bitsback.models import Gaussian, LogUniform
from pyro import poutine
from pyro.infer import SVI, Predictive, TraceMeanField_ELBO
from torch import nn


def images(count=6):
    return torch.randn(count, 1, 8, 8), torch.randint(0, 3, (count,))


def convolutional():
    """Convolution, BatchNorm, dropout and dense layers."""
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Dropout(0.5),
        nn.Flatten(), nn.Linear(72, 3),
    )  # fmt: skip


class Text(nn.Module):
    """Embedding, Conv1d and a nested module, with forwards of their own."""

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = nn.Linear(4, 3)
            self.gain = nn.Parameter(torch.ones(3))

        def forward(self, hidden):
            return self.dense(hidden) * self.gain

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 3)
        self.conv = nn.Conv1d(3, 4, 2)
        self.head = self.Head()

    def forward(self, tokens):
        hidden = self.conv(self.embedding(tokens).transpose(1, 2))
        return self.head(torch.relu(hidden).mean(-1))


def train(model, x, y, steps=3, **options):
    guide = MeanFieldNormal(model, **options)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), TraceMeanField_ELBO())
    for _ in range(steps):
        svi.step(x, y)
    return guide


def test_finds_the_weights():
    assert Gaussian(convolutional(), 5).weight_names == ("0.weight", "5.weight")
    assert Gaussian(Text(), 5).weight_names == (
        "embedding.weight", "conv.weight", "head.dense.weight"
    )  # fmt: skip
    assert Gaussian(nn.Linear(2, 3), 5).weight_names == ("weight",)


def test_the_network_is_not_mutated():
    net = convolutional()
    before, ids = copy.deepcopy(net.state_dict()), [id(p) for p in net.parameters()]
    mode = net.training
    train(LogUniform(net, 6), *images())
    assert [id(p) for p in net.parameters()] == ids and net.training == mode
    assert all(v.equal(before[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_trained_is_a_plain_network_with_the_trained_point_parameters():
    net, (x, y) = convolutional(), images()
    model = LogUniform(net, 6)
    train(model, x, y)
    trained = model.trained()
    assert type(trained) is nn.Sequential and [*trained.state_dict()] == [*net.state_dict()]
    assert [type(p) for p in trained.parameters()] == [type(p) for p in net.parameters()]
    for name, value in trained.state_dict().items():
        latent = name in model.weight_names
        assert value.equal(net.state_dict()[name]) == latent, name  # biases, BatchNorm moved
    assert trained(x).shape == (6, 3) and not any(p.grad is not None for p in trained.parameters())


def test_trained_is_a_copy():
    model = LogUniform(convolutional(), 6)
    with torch.no_grad():
        for p in model.trained().parameters():
            p.fill_(7.0)
    assert not any((p == 7).any() for p in model.trained().parameters())


def test_nested_modules_and_other_parameters_train():
    net, x = Text(), torch.randint(0, 10, (6, 5))
    model = Gaussian(net, 6)
    train(model, x, torch.randint(0, 3, (6,)))
    trained = model.trained()
    assert type(trained) is Text
    for name in ("conv.bias", "head.dense.bias", "head.gain"):
        assert not trained.get_parameter(name).equal(net.get_parameter(name)), name
    assert trained.conv.weight.equal(net.conv.weight)


def test_output_is_the_networks_own():
    """At given weights, in evaluation mode: BatchNorm, dropout and all."""
    net, (x, _) = convolutional().eval(), images()
    model = Gaussian(net, 6)
    torch.testing.assert_close(model.output(x, model.initial_weights()), net(x))
    assert not model.net.training and model.train().net.training


def test_dropout_is_drawn_in_training():
    model, (x, _) = Gaussian(convolutional(), 6), images()
    weights = model.initial_weights()
    first, second = model.output(x, weights), model.output(x, weights)
    assert not first.equal(second)


def test_the_dry_run_leaves_buffers_alone():
    """One call, one update of BatchNorm's statistics."""
    model, (x, _) = Gaussian(convolutional(), 6), images()
    model.output(x, model.initial_weights())
    assert model.net[1].num_batches_tracked == 1


def test_latent_by_name():
    """A bias can have the prior too, and a weight go without."""
    net, (x, y) = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Linear(4, 3)), images()
    model = Gaussian(net, 6, latent=["1.weight", "1.bias"])
    assert model.weight_names == ("1.weight", "1.bias")
    guide = train(model, x, y)
    assert guide.posterior().weights["1.bias"].loc.shape == (4,)
    trained = model.trained()
    assert trained[1].bias.equal(net[1].bias) and not trained[2].weight.equal(net[2].weight)


def test_a_latent_bias_alone():
    model = Gaussian(nn.Linear(3, 2), 6, latent=["bias"], likelihood="normal")
    weights = {"bias": torch.tensor([1.0, 2.0])}
    with torch.no_grad():
        expected = model.net.weight.sum(1) + weights["bias"]
    torch.testing.assert_close(model.output(torch.ones(1, 3), weights)[0], expected)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Gaussian(nn.ReLU(), 5), "no compressible layer.*Linear, Conv1d or Conv2d"),
        (lambda: Gaussian(nn.LayerNorm(3), 5), "no compressible layer"),
        (lambda: Gaussian(nn.Linear(2, 2), 5, latent=[]), "no compressible layer.*latent"),
        (
            lambda: Gaussian(nn.Linear(2, 2), 5, latent=["wieght"]),
            "'wieght' is no parameter of the network; it has: weight, bias",
        ),
        (
            lambda: LogUniform(nn.Linear(2, 2), 5, likelihood="poisson"),
            "unknown likelihood 'poisson'; known: categorical, bernoulli, normal",
        ),
        (lambda: LogUniform(nn.Linear(2, 2), 0), "num_data.*got 0"),
        (lambda: Gaussian(nn.Linear(2, 2), 5, scale=0.0), "scale.*positive; got 0.0"),
        (lambda: Gaussian(nn.Linear(2, 2), 5, scale=float("nan")), "scale.*positive; got nan"),
        (lambda: LogUniform(nn.Linear(2, 2), 5, kl="approximate"), "exact, molchanov"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("likelihood", ["normal", "bernoulli"])
def test_labels_that_would_be_broadcast_are_refused(likelihood):
    model, x = Gaussian(nn.Linear(3, 1), 5, likelihood=likelihood), torch.ones(5, 3)
    model(x, torch.zeros(5, 1))
    with pytest.raises(ValueError, match=r"labels have shape \(5,\), .*of shape \(5, 1\): reshape"):
        model(x, torch.zeros(5))


def test_sites_and_mini_batch_scale():
    model, (x, y) = Gaussian(convolutional(), num_data=60), images(6)
    nodes = poutine.trace(model).get_trace(x, y).nodes
    names = {n for n, s in nodes.items() if s["type"] == "sample"}
    assert names == {"0.weight", "5.weight", "data", "y"}
    assert nodes["0.weight"]["value"].shape == (2, 1, 3, 3) and nodes["0.weight"]["scale"] == 1
    assert nodes["y"]["scale"] == 10 and nodes["y"]["is_observed"]


def test_predictive():
    """Also for more examples than the model was trained on."""
    model, (x, y) = Gaussian(convolutional(), num_data=6), images(6)
    guide = train(model, x, y)
    more, _ = images(11)
    drawn = Predictive(model, guide=guide, num_samples=5)(more)
    assert drawn["y"].shape == (5, 11)
    assert poutine.trace(model).get_trace(more).nodes["y"]["scale"] == 1


class Twice(nn.Module):
    """One module called two times in a forward pass."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(1, 1, bias=False)

    def forward(self, x):
        return torch.cat([self.dense(x), self.dense(2 * x)], 1)


class Tied(nn.Module):
    """Two modules with one parameter."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x):
        return torch.cat([self.first(x), self.second(2 * x)], 1)


class ByHand(Twice):
    """A layer, and the same weight in an operation of another kind, in a list."""

    def forward(self, x):
        return torch.cat([self.dense(x), 2 * x * torch.stack([self.dense.weight])[0]], 1)


class Recurrent(Twice):
    """A shared weight whose two uses depend on each other."""

    def forward(self, x):
        hidden = self.dense(x)
        return torch.cat([hidden, self.dense(hidden)], 1)


@pytest.mark.parametrize("kind", [Twice, Tied, ByHand])
def test_a_weight_used_twice_is_one_draw(kind):
    """E[(w x)(w 2x)] = 2 x^2 (loc^2 + scale^2) needs the same w in both places."""
    model = Gaussian(kind(), 4, likelihood="normal")
    guide = MeanFieldNormal(model, init_scale=0.5)
    assert len(model.weight_names) == 1
    x = torch.tensor([[1.0], [-3.0]])
    outputs = torch.stack([model.output(x, guide(x)) for _ in range(20)]).detach()
    torch.testing.assert_close(outputs[..., 1], 2 * outputs[..., 0])
    assert outputs[:, 0, 0].std() > 0.1


def test_a_recurrent_weight_is_one_draw():
    model = Gaussian(Recurrent(), 4, likelihood="normal")
    guide = MeanFieldNormal(model, init_scale=0.5)
    for _ in range(5):
        first, second = model.output(torch.ones(1, 1), guide()).detach()[0]
        torch.testing.assert_close(second, first.square())


def test_tied_weights_stay_tied_in_the_trained_network():
    trained = Gaussian(Tied(), 4, likelihood="normal").trained()
    assert trained.first.weight is trained.second.weight


def test_a_weight_used_once_is_drawn_for_each_example():
    model = Gaussian(nn.Linear(1, 1, bias=False), 4, likelihood="normal")
    guide = MeanFieldNormal(model, init_scale=0.5)
    output = model.output(torch.ones(2, 1), guide())
    assert output[0] != output[1]


def test_the_constant_kl_is_the_same_twice():
    model, (x, y) = LogUniform(convolutional(), 6), images()
    guide = MeanFieldNormal(model)
    first, second = (ELBO().terms(model, guide, x, y) for _ in range(2))
    assert first.total_kl.equal(second.total_kl)
    assert not first.expected_log_likelihood.equal(second.expected_log_likelihood)


def test_state_dict_round_trip():
    x, y = images()
    first, second = (LogUniform(convolutional(), 6) for _ in range(2))
    train(first, x, y)
    second.load_state_dict(first.state_dict())
    pairs = zip(first.trained().parameters(), second.trained().parameters(), strict=True)
    points = [a.equal(b) for a, b in pairs]
    assert points.count(False) == 2  # initial values of latent weights are no parameters


class TwoNames(nn.Module):
    """Layers whose paths are one once dots are underscores."""

    def __init__(self):
        super().__init__()
        self.a = nn.Sequential()
        self.a.add_module("b", nn.Linear(8, 8))
        self.a__b = nn.Linear(8, 3)

    def forward(self, x):
        return self.a__b(torch.relu(self.a(x[:, 0, 0])))


@pytest.mark.parametrize("method", ["gaussian", "rate", "bayesian-bits", "normal-jeffreys"])
def test_names_that_differ_in_underscores(method):
    """Weights, steps, ranges and scales of one layer are not the other's."""
    net, (x, y) = TwoNames(), images()
    model, guide = METHODS[method].pair(net, 6)
    for name, value in model.initial_weights().items():
        assert value.equal(net.get_parameter(name))
    assert math.isfinite(ELBO().loss(model, guide, x, y))


def test_frozen_layers_do_not_change():
    """No prior, no training, no weight decay, and no statistics that move in training mode."""
    net, (x, y) = convolutional(), images()
    net[:2].requires_grad_(False)
    model = Gaussian(net, 6)
    assert model.weight_names == ("5.weight",)
    guide = MeanFieldNormal(model)
    optimizer = pyro.optim.Adam({"lr": 0.1, "weight_decay": 0.1})
    SVI(model.train(), guide, optimizer, TraceMeanField_ELBO()).step(x, y)
    trained = model.trained()
    assert all(v.equal(net.state_dict()[k]) for k, v in trained[:2].state_dict().items())
    assert not trained[5].bias.equal(net[5].bias)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_trained_as_float32(dtype):
    net, (x, y) = convolutional().to(dtype), images()
    model = Gaussian(net, 6)
    train(model, x.to(dtype), y)
    assert {p.dtype for p in model.trained().parameters()} == {torch.float32}
    assert net[0].weight.dtype == dtype
    torch.testing.assert_close(model.trained()[0].weight, net[0].weight.float())


def test_parameters_of_one_memory_are_one_weight():
    net = Tied()
    net.second.weight = nn.Parameter(net.first.weight.data)
    model = Gaussian(net, 4, likelihood="normal")
    assert model.weight_names == ("first.weight",)
    trained = model.trained()
    assert trained.first.weight is trained.second.weight


def test_the_share_of_latent_numbers():
    """18 + 216 of them; 2 + 2 + 2 + 3 point parameters and 2 + 2 statistics."""
    assert Gaussian(convolutional(), 6).latent_share() == pytest.approx(234 / 247)
    assert Gaussian(Tied(), 4).latent_share() == 1.0
