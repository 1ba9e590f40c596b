"""Mixtures of inputs, and the loss against torch's own divergences."""

import pytest
import torch
from bitsback.compression.mixtures import Mixtures
from torch import distributions, nn
from torch.distributions import Independent, kl_divergence

LAWS = {
    "categorical": lambda output: distributions.Categorical(logits=output),
    "bernoulli": lambda output: Independent(distributions.Bernoulli(logits=output), 1),
    "normal": lambda output: Independent(distributions.Normal(output, 1.0), 1),
}


def nets(outputs: int = 3) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return tuple(nn.Linear(5, outputs).eval().requires_grad_(False) for _ in range(2))


@pytest.mark.parametrize("likelihood", LAWS)
def test_the_loss_is_the_divergence_from_the_reference(likelihood):
    reference, net = nets()
    x = torch.randn(300, 5)
    mixtures = Mixtures(reference, x, likelihood, torch.Size((300,)))
    law = LAWS[likelihood]
    weight = net.weight.clone().requires_grad_()
    output = nn.functional.linear(x, weight, net.bias)
    loss = mixtures.loss(output, mixtures.targets(x))
    (got,) = torch.autograd.grad(loss, weight, retain_graph=True)
    kl = kl_divergence(law(reference(x)), law(output)).mean()
    (expected,) = torch.autograd.grad(kl, weight)
    assert torch.allclose(got, expected, atol=1e-6)


def mixed(x: torch.Tensor, net: nn.Module) -> torch.Tensor:
    mixtures = Mixtures(net, x, "normal", torch.Size((len(x),)))
    return mixtures.of(mixtures.draw(1_000, torch.Generator().manual_seed(0)))


def test_inputs_are_mixtures_of_pairs():
    found = mixed(torch.eye(5), nets()[0])
    assert torch.allclose(found.sum(1), torch.ones(1_000))
    assert float(found.amax(1).min()) >= 0.5  # the first of a pair is the larger part
    assert float(found.amax(1).min()) < 0.6  # and not always all of it


def test_integers_are_not_mixed():
    tokens = torch.randint(7, (20, 2))
    found = mixed(tokens, nn.Embedding(7, 4))
    assert found.dtype == torch.int64
    assert set(map(tuple, found.tolist())) == set(map(tuple, tokens.tolist()))


def test_some_of_the_pairs_are_taken():
    x = torch.randn(30, 5)
    mixtures = Mixtures(nets()[0], x, "normal", torch.Size((30,)))
    pairs = mixtures.draw(10, torch.Generator().manual_seed(0))
    chosen = torch.tensor([7, 2])
    assert torch.equal(mixtures.of(pairs.take(chosen)), mixtures.of(pairs)[chosen])
    assert len(pairs.take(slice(3))) == 3


def test_several_labels_an_example_are_followed_each():
    """The divergence of an example is the sum of those of its labels."""
    torch.manual_seed(0)
    reference, net = (nn.Linear(5, 3).eval().requires_grad_(False) for _ in range(2))
    x = torch.randn(20, 4, 5)
    mixtures = Mixtures(reference, x, "categorical", torch.Size((20, 4)))
    law = distributions.Categorical
    weight = net.weight.clone().requires_grad_()
    output = nn.functional.linear(x, weight, net.bias)
    loss = mixtures.loss(output, mixtures.targets(x))
    kl = kl_divergence(law(logits=reference(x)), law(logits=output)).sum(1).mean()
    (got,) = torch.autograd.grad(loss, weight, retain_graph=True)
    (expected,) = torch.autograd.grad(kl, weight)
    assert torch.allclose(got, expected, atol=1e-6)
