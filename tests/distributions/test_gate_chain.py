"""Chains of gates: probabilities and KL by enumeration over all states."""

from itertools import product

import pytest
import torch
from bitsback.distributions import ChainPrior, GateChain
from torch.distributions import kl_divergence

CASES = [(0, 3), (3, 2), (2, 0), (1, 4)]


def chain(units: int, widths: int) -> GateChain:
    generator = torch.Generator().manual_seed(units + 7 * widths)
    log_alpha = 2 * torch.randn(units + widths, generator=generator, dtype=torch.float64)
    return GateChain(log_alpha, units)


def prior(units: int, widths: int, objective: str) -> ChainPrior:
    prices = torch.linspace(0.3, 1.7, widths, dtype=torch.float64)
    return ChainPrior(torch.tensor(0.9, dtype=torch.float64), prices, units, objective)


def states(units: int, widths: int) -> torch.Tensor:
    """Every state once: what is behind a closed gate is written as closed."""
    found = set()
    for bits in product((0.0, 1.0), repeat=units + widths):
        alive = units == 0 or any(bits[:units])
        tail = []
        for bit in bits[units:]:
            alive = alive and bit > 0
            tail.append(float(alive))
        found.add((*bits[:units], *tail))
    return torch.tensor(sorted(found), dtype=torch.float64)


@pytest.mark.parametrize("units, widths", CASES)
def test_states_have_probabilities(units, widths):
    every = states(units, widths)
    for distribution in (chain(units, widths), prior(units, widths, "exact")):
        total = distribution.log_prob(every).exp().sum()
        torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("units, widths", CASES)
def test_exact_kl_by_enumeration(units, widths):
    q, p, every = chain(units, widths), prior(units, widths, "exact"), states(units, widths)
    log_q, log_p = q.log_prob(every), p.log_prob(every)
    torch.testing.assert_close(kl_divergence(q, p), (log_q.exp() * (log_q - log_p)).sum())


@pytest.mark.parametrize("units, widths", CASES)
def test_published_price_by_enumeration(units, widths):
    """The expectation of mean(units) (price + prices of open widths), gates independent."""
    q, p, total = chain(units, widths), prior(units, widths, "published"), 0.0
    open_ = q.gates.inclusion
    for bits in product((0.0, 1.0), repeat=units + widths):
        z = torch.tensor(bits, dtype=torch.float64)
        probability = torch.where(z > 0, open_, 1 - open_).prod()
        share = z[:units].mean() if units else 1.0
        total = total + probability * share * (0.9 + (p.prices * z[units:].cumprod(0)).sum())
    torch.testing.assert_close(kl_divergence(q, p), total)


def test_draws_are_in_each_state_as_often_as_it_is_probable():
    """30,000 draws; each share within 5 standard errors."""
    torch.manual_seed(0)
    q, every = chain(2, 2), states(2, 2)
    draws = (q.rsample((30_000,)) > 0).double()
    alive = draws[:, :2].amax(1)
    tail = (torch.cat([alive[:, None], draws[:, 2:]], 1)).cumprod(1)[:, 1:]
    draws = torch.cat([draws[:, :2], tail], 1)
    for state, p in zip(every, q.log_prob(every).exp(), strict=True):
        share = (draws == state).all(1).double().mean()
        assert (share - p).abs() < 5 * (p * (1 - p) / 30_000).sqrt()


def test_the_exact_kl_hardly_prunes_under_the_published_probabilities():
    """One gate, P(open) = exp(-0.1): the KL is smallest at q = 0.905, and rises to both sides."""
    price = torch.tensor([0.1]).exp().sub(1).log()  # of log odds, for P(open) = exp(-0.1)
    kl = [
        kl_divergence(GateChain(torch.logit(torch.tensor([q])) - 1.5986, 0),
                      ChainPrior(torch.tensor(0.0), price, 0, "exact")).item()
        for q in (0.05, 0.905, 0.9995)
    ]  # fmt: skip
    assert kl == pytest.approx([2.04, 0.0, 0.097], abs=0.01)


def test_gradients_of_log_densities_raise_and_samples_of_the_prior():
    log_alpha = torch.zeros(3, requires_grad=True)
    with pytest.raises(NotImplementedError, match="TraceMeanField_ELBO"):
        GateChain(log_alpha, 1).log_prob(torch.ones(3)).backward()
    with pytest.raises(NotImplementedError, match="cannot be sampled"):
        prior(1, 2, "exact").sample()
    with pytest.raises(ValueError, match="published, exact"):
        prior(1, 2, "both")
