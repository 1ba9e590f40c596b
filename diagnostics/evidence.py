"""The log marginal likelihood log p(y | x) from the importance ratios of a guide.

Of each estimate: on which side of the truth it is, and its Monte-Carlo error. Given the point
parameters (biases and whatever else has no prior), which are not integrated out.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .draws import Draws
from .psis import psis, verdict


@dataclass(frozen=True)
class Evidence:
    """An estimate of log p(y | x), in nats for the whole data set.

    :param name: of the estimator.
    :param value: nats.
    :param stderr: Monte-Carlo standard error in nats; 0 for a deterministic estimate.
    :param direction: "lower bound": its expectation is not above the truth. "estimate": neither.
    :param note: what to know before it is believed.
    :param parts: nats; what a bound is the mean of, one number a draw or group of draws.
    """

    name: str
    value: float
    stderr: float
    direction: str
    note: str = ""
    parts: tuple[float, ...] = ()


def elbo(draws: Draws, kl: float | None = None) -> Evidence:
    """E_q[log p(w, y) - log q(w)]: below the truth by KL(q || posterior), in expectation.

    :param kl: KL(q || p) to the prior in nats, where it is known in closed form: then only the
        likelihood is averaged over draws, and the error no longer grows with the number of values.
    :raises ValueError: for draws without log ratios (improper priors, points, part of the data).
    """
    log_ratio = draws.log_ratio
    if kl is not None:
        log_ratio = draws.log_likelihood.double().sum(1) - kl
    return _mean("ELBO", log_ratio)


def importance_bound(draws: Draws, k: int) -> Evidence:
    """The importance-weighted bound with K draws: E log (1/K) sum_k p(w_k, y) / q(w_k).

    Burda, Grosse and Salakhutdinov 2016, *Importance weighted autoencoders*, eq. 8. It does not
    fall in K, in expectation, and is the ELBO at K = 1. The S draws make S // K independent
    groups, whose spread is the standard error.

    :raises ValueError: for fewer than two groups, and for draws without log ratios.
    """
    log_ratio = draws.log_ratio
    groups = len(log_ratio) // k if k >= 1 else 0
    if groups < 2:
        raise ValueError(
            f"k={k} of {len(log_ratio)} draws leaves fewer than two groups, and no standard error: "
            "draw more, or take k from 1 to half of them"
        )
    bounds = torch.logsumexp(log_ratio[: groups * k].reshape(groups, k), 1) - math.log(k)
    return _mean(f"importance-weighted bound, K={k}", bounds)


def psis_evidence(draws: Draws) -> Evidence:
    """log of the mean Pareto-smoothed ratio: consistent while the ratios have a mean.

    Smoothing trades a little bias for a finite variance. To be believed where k-hat is small.

    :raises ValueError: for draws without log ratios.
    """
    smoothed = psis(draws.log_ratio)
    value, stderr = log_mean(smoothed.log_weights)
    note = verdict(smoothed.khat, len(smoothed.log_weights))
    return Evidence("PSIS", value, stderr, "estimate", note)


def estimates(draws: Draws) -> list[Evidence]:
    """What draws say of the evidence: the ELBO, the bound with K = S // 10, and PSIS.

    Without PSIS where k-hat is 1 or more: ratios without a mean estimate nothing.

    :raises ValueError: for draws without log ratios.
    """
    bounds = [elbo(draws), importance_bound(draws, len(draws.log_ratio) // 10)]
    return [*bounds, psis_evidence(draws)] if correctable(draws) else bounds


def correctable(draws: Draws) -> bool:
    """Whether the importance ratios have a mean: a joint k-hat below 1; MCMC needs none."""
    return draws.exact or psis(draws.log_ratio).khat < 1


def log_mean(log_weights: Tensor) -> tuple[float, float]:
    """log of the mean of exp(log_weights), shape `(S,)`, and its standard error (delta method)."""
    count = len(log_weights)
    value = torch.logsumexp(log_weights, 0) - math.log(count)
    relative = torch.exp(log_weights - value)
    return value.item(), (relative.std() / math.sqrt(count)).item()


def _mean(name: str, values: Tensor) -> Evidence:
    stderr = (values.std() / math.sqrt(len(values))).item()
    parts = tuple(values.tolist())
    return Evidence(name, values.mean().item(), stderr, "lower bound", parts=parts)
