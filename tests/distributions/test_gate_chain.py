"""Chains of gates: probabilities and KL by enumeration over all states."""

from itertools import product

import pytest
import torch
from bitsback.distributions import ChainPrior, GateChain
from bitsback.distributions.gate_chain import reached
from torch.distributions import kl_divergence

CASES = [
    (units, widths, independent)
    for units, widths in ((0, 3), (3, 2), (2, 0), (1, 4))
    for independent in (False, True)
]


def chain(units: int, widths: int, independent: bool = False) -> GateChain:
    generator = torch.Generator().manual_seed(units + 7 * widths)
    log_alpha = 2 * torch.randn(units + widths, generator=generator, dtype=torch.float64)
    return GateChain(log_alpha, units, independent=independent)


def prior(units: int, widths: int, objective: str, independent: bool = False) -> ChainPrior:
    prices = torch.linspace(0.3, 1.7, widths, dtype=torch.float64)
    unit_price = torch.tensor(0.9, dtype=torch.float64)
    return ChainPrior(unit_price, prices, units, objective, independent)


def states(units: int, widths: int, independent: bool = False) -> torch.Tensor:
    """Every state once: what does not count is written as closed."""
    found = set()
    for bits in product((0.0, 1.0), repeat=units + widths):
        alive = units == 0 or any(bits[:units])
        tail = []
        for bit in bits[units:]:
            tail.append(float(alive and bit > 0))
            alive = alive and (independent or bit > 0)
        found.add((*bits[:units], *tail))
    return torch.tensor(sorted(found), dtype=torch.float64)


@pytest.mark.parametrize("units, widths, independent", CASES)
def test_states_have_probabilities(units, widths, independent):
    every = states(units, widths, independent)
    p = prior(units, widths, "exact", independent)
    for distribution in (chain(units, widths, independent), p):
        total = distribution.log_prob(every).exp().sum()
        torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("units, widths, independent", CASES)
def test_exact_kl_by_enumeration(units, widths, independent):
    q, every = chain(units, widths, independent), states(units, widths, independent)
    p = prior(units, widths, "exact", independent)
    log_q, log_p = q.log_prob(every), p.log_prob(every)
    torch.testing.assert_close(kl_divergence(q, p), (log_q.exp() * (log_q - log_p)).sum())


@pytest.mark.parametrize("units, widths, independent", CASES)
def test_published_price_by_enumeration(units, widths, independent):
    """The expectation of mean(units) (price + prices of open widths), gates independent."""
    q, p = chain(units, widths, independent), prior(units, widths, "published", independent)
    total = 0.0
    open_ = q.gates.inclusion
    for bits in product((0.0, 1.0), repeat=units + widths):
        z = torch.tensor(bits, dtype=torch.float64)
        probability = torch.where(z > 0, open_, 1 - open_).prod()
        share = z[:units].mean() if units else 1.0
        open_widths = z[units:] if independent else z[units:].cumprod(0)
        total = total + probability * share * (0.9 + (p.prices * open_widths).sum())
    torch.testing.assert_close(kl_divergence(q, p), total)


@pytest.mark.parametrize("independent", [False, True])
def test_widths_in_use_by_enumeration(independent):
    """Of each state the width that is meant; in expectation, its probabilities."""
    q = torch.tensor([0.7, 0.2, 0.9], dtype=torch.float64)
    total = torch.zeros(3, dtype=torch.float64)
    for bits in product((0.0, 1.0), repeat=3):
        z = torch.tensor(bits, dtype=torch.float64)
        if independent:  # the widest open one
            width = max((k + 1 for k, bit in enumerate(bits) if bit), default=0)
        else:  # how many are open in a row
            width = next((k for k, bit in enumerate(bits) if not bit), 3)
        assert reached(z, independent).tolist() == [float(k < width) for k in range(3)]
        total += torch.where(z > 0, q, 1 - q).prod() * (torch.arange(3) < width)
    torch.testing.assert_close(reached(q, independent), total)


def test_a_chain_has_no_kl_with_independent_gates():
    with pytest.raises(ValueError, match="must be the same"):
        kl_divergence(chain(1, 2, True), prior(1, 2, "exact"))


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
