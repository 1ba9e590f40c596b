"""Pareto smoothed importance sampling: how far an approximate posterior can be trusted.

Vehtari, Simpson, Gelman, Yao and Gabry 2024, *Pareto smoothed importance sampling*, JMLR 25(72);
Yao, Vehtari, Simpson and Gelman 2018, *Yes, but did it work?*, for its use on guides.
"""

import math
from typing import NamedTuple

import torch
from pyro.ops.stats import fit_generalized_pareto
from torch import Tensor

MANY_VALUES = 300  # beyond it a joint k-hat says little
_SHORTEST_TAIL = 5  # with fewer there is nothing to fit
_SMALLEST = math.log(torch.finfo(torch.float64).tiny)


class Smoothed(NamedTuple):
    """Smoothed importance weights.

    :param log_weights: nats, float64, shape `(S,)`; not normalised: the largest is at most the
        largest log ratio.
    :param khat: shape of the Pareto distribution fitted to the largest ratios. Below about 0.7
        the weights can be used; from 1 on the ratios have no mean. inf where the tail is too short
        to say (fewer than about 25 draws), -inf where all ratios are equal.
    """

    log_weights: Tensor
    khat: float

    @property
    def normalized(self) -> Tensor:
        """Log weights whose exponentials sum to 1."""
        return self.log_weights - torch.logsumexp(self.log_weights, 0)


def psis(log_ratios: Tensor) -> Smoothed:
    """Smooth importance ratios by a generalised Pareto fit to their upper tail.

    The tail is the ceil(min(S/5, 3 sqrt(S))) largest, as in ArviZ 0.23. The argument is log
    RATIOS, log p - log q, as for `arviz.psislw` of 0.23; the function of that name in ArviZ 1.x
    wants them negated.

    :param log_ratios: nats, shape `(S,)`, independent draws.
    :raises ValueError: for a shape other than `(S,)`, and for NaN or +inf.
    """
    if log_ratios.dim() != 1:
        raise ValueError(f"log_ratios must have the shape (S,); got {tuple(log_ratios.shape)}")
    log_ratios = log_ratios.detach().double().cpu()
    largest = log_ratios.max()
    if not largest.isfinite():
        raise ValueError("log_ratios must not be NaN or +inf, and one at least must be finite")
    if (log_ratios == largest).all():
        return Smoothed(log_ratios, -math.inf)
    shifted = log_ratios - largest
    count = math.ceil(min(len(shifted) / 5, 3 * math.sqrt(len(shifted))))
    cutoff = shifted.sort().values[-count - 1].clamp(min=_SMALLEST)
    tail = (shifted > cutoff).nonzero()[:, 0]
    if len(tail) < _SHORTEST_TAIL:
        return Smoothed(log_ratios, math.inf)
    tail = tail[shifted[tail].argsort()]
    khat, scale = fit_generalized_pareto(shifted[tail].exp() - cutoff.exp())
    if math.isfinite(khat):
        shifted[tail] = torch.log(_quantiles(len(tail), khat, scale) + cutoff.exp())
    return Smoothed(shifted.clamp(max=0) + largest, khat)


def _quantiles(count: int, khat: float, scale: float) -> Tensor:
    """Of the generalised Pareto distribution at (1/2, 3/2, ...)/count, shape `(count,)`."""
    exceeded = torch.log1p(-torch.arange(0.5, count, dtype=torch.float64) / count)
    if abs(khat) < torch.finfo(torch.float64).eps:
        return -scale * exceeded
    return scale * torch.expm1(-khat * exceeded) / khat


def threshold(num_samples: int) -> float:
    """The k-hat up to which S draws suffice: min(1 - 1/log10(S), 0.7) (Vehtari et al. 2024)."""
    return min(1 - 1 / math.log10(num_samples), 0.7) if num_samples > 1 else 0.0


def verdict(khat: float, num_samples: int, values: int = 0) -> str:
    """What a joint k-hat says, in words.

    :param values: latent values, of which many make it large for their number alone.
    """
    limit = threshold(num_samples)
    if khat <= limit:
        return f"k-hat {khat:.2f} <= {limit:.2f}: averages over q can be corrected by its weights"
    if khat == math.inf:
        return f"{num_samples} draws are too few for a k-hat"
    if khat < 1:
        return f"k-hat {khat:.2f} > {limit:.2f}: {num_samples} draws are too few to correct q"
    if values > MANY_VALUES:
        return (
            f"k-hat {khat:.2f} >= 1: its weights correct nothing, but of {values} values it is "
            "large for their number alone and says little of q; look at single sites"
        )
    return f"k-hat {khat:.2f} >= 1: q misses mass of the posterior; its weights correct nothing"
