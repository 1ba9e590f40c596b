"""What `fit` says of validation data: their error by the model's own likelihood."""

import itertools

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Distribution

from ..common.examples import Inputs, bounds, take
from ..common.modes import evaluating
from ..compression.scores import CHUNK, score, spread_of
from .steps import Pair


@torch.no_grad()
def validation_error(pair: Pair, x: Inputs, y: Tensor) -> float | None:
    """The error [%] at the median of q; see `compression.scores` for what that is.

    Of a likelihood that is neither categorical nor Bernoulli the mean is judged as that of a
    normal; None where it has no mean.
    """
    median, net = pair.guide.median(take(x, slice(1))), pair.model.get_submodule("net")
    total = 0.0
    with evaluating(net):
        for start, end in itertools.pairwise(bounds(len(y), CHUNK)):
            truth = y[start:end]
            output = pair.model.output(take(x, slice(start, end)), median)
            likelihood, prediction = _predicted(pair.model, output)
            if prediction is None:
                return None
            error = score(prediction.double(), truth, likelihood, spread_of(y, likelihood))[1]
            total += error.sum().item()
    return total / len(y)


def _predicted(model: nn.Module, output: Tensor) -> tuple[str, Tensor | None]:
    """The likelihood by the name that `scores` knows it by, and what it scores."""
    found: Distribution = model.likelihood(output)
    while hasattr(found, "base_dist"):
        found = found.base_dist
    if isinstance(found, Categorical):
        return "categorical", found.logits
    if isinstance(found, Bernoulli):
        return "bernoulli", found.logits
    try:
        return "normal", found.mean
    except NotImplementedError:
        return "normal", None
