"""Which weights survive: the posterior's own verdict, weight by weight.

A weight is pruned when its log effective dropout rate log alpha = log(Var_q[w] / E_q[w]^2) is at
least the threshold, or when the posterior holds it to be zero (inclusion < 0.5). A method that
has no log alpha (a Delta guide) prunes nothing here.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ..posterior import Posterior, WeightPosterior

#: Candidate thresholds on log alpha for the choice on validation data, the last one infinite:
#: from a signal-to-noise ratio |E w| / stddev of e^2 (-4) in steps of e^0.25 down to e^-4 (8).
THRESHOLDS = (*(0.5 * k for k in range(-8, 17)), math.inf)


def mask(weight: WeightPosterior, threshold: float) -> Tensor:
    """Which weights are kept, bool of the weight's shape, for a threshold on log alpha [nats]."""
    kept = (weight.inclusion >= 0.5).expand(weight.loc.shape).clone()
    if weight.log_alpha is not None:
        kept &= weight.log_alpha < threshold
    return kept


def masks(posterior: Posterior, threshold: float) -> dict[str, Tensor]:
    """The mask of every weight tensor of the posterior."""
    return {name: mask(weight, threshold) for name, weight in posterior.weights.items()}


def candidates(posterior: Posterior) -> list[tuple[float, dict[str, Tensor]]]:
    """(threshold, masks) of `THRESHOLDS`, most pruned first; equal masks once."""
    found: list[tuple[float, dict[str, Tensor]]] = []
    count = -1
    scored = any(weight.log_alpha is not None for weight in posterior.weights.values())
    for threshold in THRESHOLDS if scored else (math.inf,):
        kept = masks(posterior, threshold)
        total = sum(int(m.sum()) for m in kept.values())  # masks are nested: equal if counts are
        if total > count:
            found.append((threshold, kept))
        count = total
    return found


def check_posterior(posterior: Posterior, state: Mapping[str, Tensor]) -> None:
    """Raise ValueError, naming the tensor, unless the posterior fits a network's state_dict."""
    if not posterior.weights:
        raise ValueError("the posterior holds no weights: nothing to compress")
    for name, weight in posterior.weights.items():
        if name not in state:
            known = ", ".join(state)
            raise ValueError(f"the posterior's {name!r} is not in the network; it has: {known}")
        shape = tuple(state[name].shape)
        fields = {"loc": weight.loc, "stddev": weight.stddev}
        if weight.log_alpha is not None:
            fields["log_alpha"] = weight.log_alpha
        for field, tensor in fields.items():
            if tuple(tensor.shape) != shape:
                raise ValueError(
                    f"{field} of {name!r} has shape {tuple(tensor.shape)}; "
                    f"the network's tensor has {shape}"
                )
            wrong = tensor.isnan() if field == "log_alpha" else ~tensor.isfinite()
            if wrong.any():
                raise ValueError(f"{field} of {name!r} holds NaN or infinity")
        if (weight.stddev < 0).any():
            raise ValueError(f"stddev of {name!r} is negative somewhere")
        _check_inclusion(name, weight.inclusion, shape)


def _check_inclusion(name: str, inclusion: Tensor, shape: tuple[int, ...]) -> None:
    try:
        fits = torch.broadcast_shapes(inclusion.shape, shape) == shape
    except RuntimeError:
        fits = False
    if not fits or not ((inclusion >= 0) & (inclusion <= 1)).all():
        raise ValueError(f"inclusion of {name!r} must be within [0, 1] and broadcast to {shape}")
