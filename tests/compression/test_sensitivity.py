"""Sensitivities against the KL divergence that noise on a layer's outputs really makes."""

import pytest
import torch
from bitsback.compression.sensitivity import LEAST, sensitivities
from bitsback.graph import trace
from torch import nn
from torch.distributions import Bernoulli, Categorical, Normal, kl_divergence

NOISE = 0.01


class Noisy(nn.Module):
    """A layer with independent normal noise on its outputs."""

    def __init__(self, layer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x):
        output = self.layer(x)
        return output + NOISE * torch.randn_like(output)


def network():
    return nn.Sequential(
        nn.Conv1d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(24, 6), nn.Tanh(), nn.Linear(6, 3)
    ).eval()


def distribution(output, likelihood, like):
    if likelihood == "categorical":
        return Categorical(logits=output)
    if likelihood == "bernoulli":
        return Bernoulli(logits=output)
    return Normal(output, like.std())


@torch.no_grad()
def measured(net, x, place, likelihood):
    """2 KL an example over the expected squared noise on all outputs of a layer."""
    shape = net[: place + 1](x[:1]).shape
    given = net(x)
    layers = list(net)
    layers[place] = Noisy(net[place])
    p, q = (distribution(o, likelihood, given) for o in (given, nn.Sequential(*layers)(x)))
    divergence = float(kl_divergence(p, q).sum()) / len(x)
    return 2 * divergence / (NOISE**2 * shape.numel())


@pytest.mark.parametrize("likelihood", ["categorical", "bernoulli", "normal"])
def test_they_predict_the_divergence(likelihood):
    net, x = network().double(), torch.randn(1000, 2, 8, dtype=torch.float64)
    traced = trace(net, x[:2])
    nodes = [node for node in traced.graph.operators if node.operator in ("conv1d", "linear")]
    assert len(nodes) == 3
    found = sensitivities(traced, x, nodes, likelihood)
    for node, place in zip(nodes, (0, 3, 5), strict=True):
        assert found[node] == pytest.approx(measured(net, x, place, likelihood), rel=0.15)


def test_a_layer_without_effect_is_given_a_little():
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x):
            return self.used(x) + 0 * self.idle(x)

    x = torch.randn(30, 3)
    traced = trace(Idle().eval(), x[:2])
    nodes = [node for node in traced.graph.operators if node.operator == "linear"]
    low, high = sorted(sensitivities(traced, x, nodes, "categorical").values())
    assert low == pytest.approx(LEAST * high)
    assert low > 0


def test_the_seed_draws_the_labels_and_nothing_is_changed():
    x = torch.randn(120, 2, 8)
    traced = trace(network().requires_grad_(False), x[:2])
    nodes = [node for node in traced.graph.operators if node.operator == "linear"]
    before = torch.get_rng_state()
    one, two, other = (sensitivities(traced, x, nodes, "categorical", seed=s) for s in (1, 1, 2))
    assert one == two != other
    assert torch.equal(before, torch.get_rng_state())
    assert not any(p.requires_grad for p in traced.parameters())
