"""The scale-mixture prior: an unbiased bound, and a posterior that Pyro's own inference finds."""

import math

import pytest
import torch
from bitsback.guides import ELBO, MeanFieldNormal
from bitsback.models import ScaleMixture
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.optim import Adam
from torch import nn

SIGMAS = 5  # of seeded estimates: another seed fails with probability 6e-7


def example(**options):
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    model = ScaleMixture(net, 12, sigma2=0.1, **options)
    return model, torch.linspace(-1, 1, 24).reshape(6, 4), torch.arange(6) % 2


def test_prior():
    model, _, _ = example(pi=0.25, sigma1=2.0)
    p = model.prior("0.weight", torch.zeros(3, 4))
    assert (p.pi, p.sigma1, p.sigma2, p.batch_shape) == (0.25, 2.0, 0.1, (3, 4))


def test_impossible_priors_are_refused_at_once():
    with pytest.raises(ValueError, match="0 < sigma2 < sigma1"):
        example(sigma1=0.05)


@pytest.mark.parametrize("other", [TraceMeanField_ELBO, Trace_ELBO])
def test_the_bound_agrees_with_pyros_in_expectation(other):
    """`Trace_ELBO` knows of no registered KL: it takes log p and log q at the weight's draw."""
    model, x, y = example()
    local = other is not Trace_ELBO
    guide = MeanFieldNormal(model, init_scale=0.2, local_reparameterization=local)
    losses = [[loss.loss(model, guide, x, y) for _ in range(200)] for loss in (ELBO(), other())]
    ours, theirs = (torch.tensor(each) for each in losses)
    error = math.sqrt(ours.var().item() / 200 + theirs.var().item() / 200)
    assert abs(ours.mean() - theirs.mean()).item() < SIGMAS * error
    assert error < 0.02 * ours.mean().item()


def test_pyros_guides_and_nuts_run():
    model, x, y = example()
    svi = SVI(model, AutoNormal(model), Adam({"lr": 0.01}), Trace_ELBO())
    assert all(math.isfinite(svi.step(x, y)) for _ in range(3))
    for point in model.net.parameters():
        point.requires_grad_(False)
    kernel = NUTS(model, max_tree_depth=2)
    sampler = MCMC(kernel, num_samples=2, warmup_steps=1, disable_progbar=True)
    sampler.run(x, y)
    assert sampler.get_samples()["0.weight"].shape == (2, 3, 4)
