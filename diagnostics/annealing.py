"""Annealed importance sampling: the log marginal likelihood without a guide.

Neal 2001, *Annealed importance sampling*. Chains go from the prior to the posterior through
p(w) p(y | x, w)^b, b from 0 to 1; the mean of their weights is p(y | x), whatever the chains do.
"""

import torch
from torch import Tensor, nn

from .density import LogDensity
from .evidence import Evidence, log_mean
from .traces import evaluating

_POWER = 4  # steps are small where the likelihood first acts (Friel and Pettitt 2008 take 5)
_ACCEPTANCE = 0.8


def annealed(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    chains: int = 100,
    temperatures: int = 200,
    leapfrog: int = 3,
) -> Evidence:
    """log p(y | x) by annealed importance sampling with Hamiltonian transitions.

    The mean weight is unbiased, so that its logarithm is a lower bound in expectation, and a
    tight one where the chains keep up. The transitions' step sizes come from a pilot run, whose
    chains are thrown away: steps that followed the chains themselves would spoil the weights.
    Cost: 2 x temperatures x (leapfrog + 1) gradients of all chains at once; for models of some
    hundred latent values. The variance of a log weight falls as 1 / temperatures.

    :param model: proper prior, continuous latent sites, vectorisable network.
    :param x: inputs, all the training data.
    :param y: labels.
    :param chains: independent runs; their weights give the standard error.
    :param temperatures: steps from the prior to the posterior.
    :param leapfrog: steps of a transition.
    :raises ValueError: for an improper prior, a discrete site, part of the data.
    """
    if chains < 2 or temperatures < 1:
        raise ValueError("annealed() needs two chains and one temperature at least")
    with evaluating(model):
        density = LogDensity(model, x, y)
        powers = torch.linspace(0, 1, temperatures + 1) ** _POWER
        steps = torch.full((temperatures + 1,), 0.1)
        _run(density, powers, steps, chains, leapfrog, adapt=True)
        log_weights, accepted = _run(density, powers, steps, chains, leapfrog, adapt=False)
    value, stderr = log_mean(log_weights)
    note = f"acceptance {accepted:.2f}; the standard error is too small where few chains carry it"
    return Evidence("annealed importance sampling", value, stderr, "lower bound", note)


def _run(density: LogDensity, powers, steps, chains: int, leapfrog: int, adapt: bool):
    """One pass of all chains: their log weights, shape `(chains,)`, and the mean acceptance.

    With `adapt`, `steps` are changed in place toward the wanted acceptance.
    """
    u = torch.stack([density.prior_draw() for _ in range(chains)])
    log_weights = torch.zeros(chains, dtype=torch.float64)
    log_likelihood = density.batch(u, 0.0)[2]
    total = 0.0
    for t in range(1, len(powers)):
        log_weights += (powers[t] - powers[t - 1]).item() * log_likelihood.double().cpu()
        # At the last temperature the weights are complete; a pilot still sets its step.
        u, log_likelihood, rate = _transition(density, u, powers[t].item(), steps[t], leapfrog)
        total += rate
        if adapt:
            steps[t:] *= torch.tensor(rate - _ACCEPTANCE).exp()
    return log_weights, total / (len(powers) - 1)


def _transition(density: LogDensity, u: Tensor, power: float, step: Tensor, leapfrog: int):
    """A Hamiltonian transition of each row that leaves p(u) p(y | x, u)^power as it is."""
    momentum = torch.randn_like(u)
    gradient, value, log_likelihood = density.batch(u, power)
    start = value - momentum.square().sum(1) / 2
    moved = u
    for _ in range(leapfrog):
        momentum = momentum + step / 2 * gradient
        moved = moved + step * momentum
        gradient, value, moved_likelihood = density.batch(moved, power)
        momentum = momentum + step / 2 * gradient
    change = value - momentum.square().sum(1) / 2 - start
    # A diverged trajectory is NaN and is refused.
    probability = torch.nan_to_num(change, nan=-torch.inf).clamp(max=0).exp()
    accept = torch.rand_like(probability) < probability
    u = torch.where(accept[:, None], moved, u)
    return u, torch.where(accept, moved_likelihood, log_likelihood), probability.mean().item()
