"""Sensitivities against the KL divergence that noise on a layer's outputs really makes."""

import pytest
import torch
from bitsback.compression.sensitivity import (
    BATCH,
    LEAST,
    LEAST_OF_A_UNIT,
    batch_of,
    floored,
    sensitivities,
)
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
        mean = float(found[node].mean())
        assert mean == pytest.approx(measured(net, x, place, likelihood), rel=0.15)


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
    found = sensitivities(traced, x, nodes, "categorical").values()
    low, high = sorted(float(by_unit.mean()) for by_unit in found)
    assert low == pytest.approx(LEAST * high)
    assert low > 0


def test_the_seed_draws_the_labels_and_nothing_is_changed():
    x = torch.randn(120, 2, 8)
    traced = trace(network().requires_grad_(False), x[:2])
    nodes = [node for node in traced.graph.operators if node.operator == "linear"]
    before = torch.get_rng_state()
    one, two, other = (sensitivities(traced, x, nodes, "categorical", seed=s) for s in (1, 1, 2))
    assert all(torch.equal(one[node], two[node]) for node in nodes)
    assert not any(torch.equal(one[node], other[node]) for node in nodes)
    assert torch.equal(before, torch.get_rng_state())
    assert not any(p.requires_grad for p in traced.parameters())


def test_each_unit_has_its_own():
    """Of a second layer that reads one unit ten times as much as the other."""
    net = nn.Sequential(nn.Conv1d(2, 2, 3), nn.Flatten(1), nn.Linear(8, 3)).eval()
    with torch.no_grad():
        net[2].weight[:, 4:] = 0.1 * net[2].weight[:, :4]
    x = torch.randn(50, 2, 6)
    traced = trace(net, x[:2])
    node = next(node for node in traced.graph.operators if node.operator == "conv1d")
    found = sensitivities(traced, x, [node], "categorical")[node]
    assert found.shape == (2,)
    floor = LEAST_OF_A_UNIT * (1 + 0.1**2) / 2
    assert float(found[1] / found[0]) == pytest.approx(max(0.1**2, floor), rel=1e-3)


def test_units_that_seem_not_to_matter_are_given_a_little():
    found = floored({"a": torch.tensor([0.0, 2.0]), "b": torch.tensor([0.0])})
    assert found["a"].tolist() == pytest.approx([LEAST_OF_A_UNIT, 2.0])
    assert found["b"].tolist() == pytest.approx([LEAST])
    assert floored({"a": torch.zeros(2)})["a"].tolist() == [1.0, 1.0]


def test_large_feature_maps_are_taken_a_few_examples_at_a_time(monkeypatch):
    x = torch.randn(60, 2, 8)
    traced = trace(network(), x[:2])
    nodes = [node for node in traced.graph.operators if node.operator == "linear"]
    assert batch_of(traced, x) == BATCH
    whole = sensitivities(traced, x, nodes, "normal")
    monkeypatch.setattr("bitsback.compression.sensitivity.LARGEST", 1000)
    assert 3 <= batch_of(traced, x) <= 20  # at least the 24 + 24 + 6 + 6 + 3 results of operators
    for node, found in sensitivities(traced, x, nodes, "normal").items():
        assert float(found.mean()) == pytest.approx(float(whole[node].mean()), rel=0.3)
