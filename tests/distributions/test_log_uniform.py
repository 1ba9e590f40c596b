"""The log-uniform prior: its registered KL, and what an improper density refuses."""

import pytest
import torch
from bitsback.distributions import LogUniform
from bitsback.distributions.log_uniform_kl import exact_kl, molchanov_kl
from bitsback.guides.local_reparameterization import LocalNormal
from pyro.distributions import Delta, Normal
from torch.distributions.kl import kl_divergence

KL = {"exact": exact_kl, "molchanov": molchanov_kl}


def parameters(*shape):
    return torch.randn(shape), 0.5 * torch.randn(shape)


@pytest.mark.parametrize("kl", KL)
def test_kl_is_registered_for_normals(kl):
    loc, log_scale = parameters(3, 2)
    prior = LogUniform((3, 2), kl=kl)
    for q in (Normal(loc, log_scale.exp()), LocalNormal(loc, log_scale)):
        torch.testing.assert_close(kl_divergence(q, prior), KL[kl](loc, log_scale))
        through = kl_divergence(q.to_event(2), prior.to_event(2))
        torch.testing.assert_close(through, KL[kl](loc, log_scale).sum())


def test_the_log_scale_is_used_as_it_is():
    """exp would underflow here, and its logarithm be infinite."""
    q = LocalNormal(torch.tensor([0.5]), torch.tensor([-120.0], requires_grad=True))
    value = kl_divergence(q, LogUniform((1,)))
    value.backward()
    assert value.isfinite() and q.log_scale.grad == -1


def test_unknown_kl():
    with pytest.raises(ValueError, match=r"kl must be one of exact, molchanov; got 'mackay'"):
        LogUniform(kl="mackay")


@pytest.mark.parametrize("kl", KL)
def test_expand(kl):
    prior = LogUniform((), kl=kl).expand((4, 3))
    assert prior.batch_shape == (4, 3) and prior.event_shape == () and prior.kl == kl
    assert LogUniform((3,)).expand_by([4]).batch_shape == (4, 3)


def test_it_cannot_be_sampled():
    with pytest.raises(NotImplementedError, match="improper: it cannot be sampled"):
        LogUniform((2,)).sample()
    with pytest.raises(NotImplementedError, match="proper prior"):
        LogUniform((2,)).rsample((3,))


def test_log_prob_is_minus_log_magnitude():
    value = torch.tensor([-2.0, 0.5, 1.0])
    expected = torch.tensor([-0.6931472, 0.6931472, 0.0])
    torch.testing.assert_close(LogUniform((3,)).log_prob(value), expected)


def test_the_gradient_of_log_prob_is_refused():
    value = torch.ones(2, requires_grad=True)
    with pytest.raises(NotImplementedError, match=r"Monte-Carlo gradient .* infinite variance"):
        LogUniform((2,)).log_prob(value).sum().backward()


def test_a_point_mass_gets_no_gradient_either():
    """Its KL would be log|w|, which has its minimum, minus infinity, at w = 0."""
    point = torch.ones(2, requires_grad=True)
    with pytest.raises(NotImplementedError, match="improper"):
        kl_divergence(Delta(point), LogUniform((2,))).sum().backward()


def test_no_other_family_has_a_kl():
    with pytest.raises(NotImplementedError):
        kl_divergence(torch.distributions.Laplace(0.0, 1.0), LogUniform())
