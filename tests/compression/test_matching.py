"""Function matching: what a descent finds, and what it must not do."""

import pytest
import torch
from bitsback.compression.matching import Matching
from bitsback.graph import trace
from torch import nn


def nets(outputs: int = 3) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return tuple(nn.Linear(5, outputs).eval().requires_grad_(False) for _ in range(2))


@pytest.mark.parametrize("likelihood", ["categorical", "bernoulli", "normal"])
def test_the_descent_finds_the_reference(likelihood):
    reference, net = nets()
    matching = Matching(reference, torch.randn(300, 5), likelihood)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    free = {name: value.clone().requires_grad_() for name, value in net.named_parameters()}
    matching.descend(net, lambda: free, list(free.values()), 1_500, 0.02)
    # Logits have one free constant, which the sum over classes takes away.
    middle = 0.0 if likelihood != "categorical" else 1.0
    for name, value in reference.named_parameters():
        difference = free[name].detach() - value
        assert float((difference - middle * difference.mean(0)).abs().max()) < 0.02
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


@pytest.mark.parametrize(("rate", "moves"), [(1e3, False), (0.2, True)])
def test_a_rate_that_is_too_high_does_no_harm(rate, moves):
    """A hundred updates at it, and at a tenth of it, lead away from a network that is near."""
    reference, _ = nets()
    matching = Matching(reference, torch.randn(300, 5), "categorical")
    start = {name: 1.1 * value for name, value in reference.named_parameters()}
    free = {name: value.clone().requires_grad_() for name, value in start.items()}
    matching.descend(reference, lambda: free, list(free.values()), 100, rate)
    assert moves != all(torch.equal(free[name], value) for name, value in start.items())


def test_deep_networks_have_lower_rates(monkeypatch):
    seen = []
    monkeypatch.setattr(Matching, "_descend", lambda *args: seen.append(args[-1]))
    for layers in (2, 8):
        body = [part for _ in range(layers) for part in (nn.Linear(5, 5), nn.ReLU())]
        net = trace(nn.Sequential(*body), torch.randn(2, 5))
        Matching(net, torch.randn(30, 5), "normal").descend(net, dict, [torch.ones(1)], 10, 0.1)
    assert seen == pytest.approx([0.1, 0.01, 0.05, 0.005])


def test_no_single_input_is_left_over(monkeypatch):
    monkeypatch.setattr("bitsback.compression.matching.LARGEST", 3 * 1025)
    sizes = []

    class Seen(nn.Linear):
        def forward(self, x):
            sizes.append(len(x))
            return super().forward(x)

    Matching(Seen(5, 3).requires_grad_(False), torch.randn(50, 5), "normal")
    assert sizes == [1, 513, 512]


def test_the_memory_for_wide_outputs_is_bounded(monkeypatch):
    monkeypatch.setattr("bitsback.compression.matching.LARGEST", 3_000)
    reference, _ = nets(outputs=10)
    assert len(Matching(reference, torch.randn(50, 5), "normal")._targets) == 300
