"""Which weights survive: the posterior's own verdict, weight by weight or unit by unit.

A weight is pruned when its log effective dropout rate log alpha = log(Var_q[w] / E_q[w]^2) is at
least the threshold, or when the posterior holds it to be zero (inclusion < 0.5). A unit whose
weights share a scale is pruned when its score is. A method without scores (a Delta guide) prunes
nothing here.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ..posterior import Posterior, WeightPosterior

#: What thresholds speak of: log alpha of weights, scores of groups, or nothing ("none").
PRUNE = ("weights", "groups", "none")
#: Candidate thresholds on log alpha for the choice on validation data, the last one infinite:
#: from a signal-to-noise ratio |E w| / stddev of e^4 (-8) in steps of e^0.25 down to e^-4 (8).
THRESHOLDS = (*(0.5 * k for k in range(-16, 17)), math.inf)
GROUP_THRESHOLDS = 48  # of group scores, whose scale is the method's own: that many quantiles


def mask(weight: WeightPosterior, threshold: float, prune: str = "weights") -> Tensor:
    """Which weights are kept, bool of the weight's shape.

    :param threshold: on log alpha [nats] or on the scores of groups.
    :param prune: one of `PRUNE`; "none" keeps all that the posterior does not hold to be zero.
    """
    kept = (weight.inclusion >= 0.5).expand(weight.loc.shape).clone()
    if prune == "weights" and weight.log_alpha is not None:
        kept &= weight.log_alpha < threshold
    elif prune == "groups":
        for group in weight.groups:
            shape = [1] * weight.loc.dim()
            shape[group.axis] = -1
            kept &= (group.score < threshold).reshape(shape)
    return kept


def masks(posterior: Posterior, threshold: float, prune: str = "weights") -> dict[str, Tensor]:
    """The mask of every weight tensor of the posterior."""
    return {name: mask(weight, threshold, prune) for name, weight in posterior.weights.items()}


def candidates(
    posterior: Posterior, prune: str = "weights"
) -> list[tuple[float, dict[str, Tensor]]]:
    """(threshold, masks) of the candidate thresholds, most pruned first; equal masks once.

    :raises ValueError: "groups" of a posterior that has none.
    """
    found: list[tuple[float, dict[str, Tensor]]] = []
    count = -1
    for threshold in _thresholds(posterior, prune):
        kept = masks(posterior, threshold, prune)
        total = sum(int(m.sum()) for m in kept.values())  # masks are nested: equal if counts are
        if total > count:
            found.append((threshold, kept))
        count = total
    return found


def _thresholds(posterior: Posterior, prune: str) -> tuple[float, ...]:
    weights = posterior.weights.values()
    if prune == "groups":
        scores = [group.score.double().flatten() for w in weights for group in w.groups]
        if not scores:
            raise ValueError(
                "prune='groups' needs a posterior whose units share a scale or a gate, and this "
                "one's do not: use prune='weights', or a method that has groups"
            )
        levels = torch.linspace(0, 1, GROUP_THRESHOLDS, dtype=torch.float64)
        return (*torch.cat(scores).quantile(levels).tolist(), math.inf)
    scored = prune == "weights" and any(weight.log_alpha is not None for weight in weights)
    return THRESHOLDS if scored else (math.inf,)


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
        _check_groups(name, weight, shape)
        _check_codes(name, weight, shape)


def _check_inclusion(name: str, inclusion: Tensor, shape: tuple[int, ...]) -> None:
    try:
        fits = torch.broadcast_shapes(inclusion.shape, shape) == shape
    except RuntimeError:
        fits = False
    if not fits or not ((inclusion >= 0) & (inclusion <= 1)).all():
        raise ValueError(f"inclusion of {name!r} must be within [0, 1] and broadcast to {shape}")


def _check_groups(name: str, weight: WeightPosterior, shape: tuple[int, ...]) -> None:
    for group in weight.groups:
        if not -len(shape) <= group.axis < len(shape):
            raise ValueError(f"a group of {name!r} is along axis {group.axis}, of {len(shape)}")
        if tuple(group.score.shape) != (shape[group.axis],) or group.score.isnan().any():
            raise ValueError(
                f"the scores of the groups of {name!r} along axis {group.axis} must be numbers of "
                f"shape ({shape[group.axis]},), not {tuple(group.score.shape)}"
            )


def _check_codes(name: str, weight: WeightPosterior, shape: tuple[int, ...]) -> None:
    grid = weight.grid
    if grid is None or grid.codes is None:
        return
    values = 0 if grid.codebook is None else len(grid.codebook)
    if tuple(grid.codes.shape) != shape or not ((grid.codes >= 0) & (grid.codes < values)).all():
        raise ValueError(f"the codes of {name!r} must be within its {values} values, shape {shape}")
