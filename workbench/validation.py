"""What `fit` says of validation data: their error by the model's own likelihood."""

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Distribution

from ..common.modes import evaluating
from ..compression.scores import check_data, chunks, score, spread_of
from .steps import Pair


def check_validation(x: Tensor, y: Tensor) -> None:
    """:raises ValueError: no examples, lengths that differ, or inputs that are not finite."""
    likelihood = "normal" if y.is_floating_point() else "categorical"
    check_data(x, y, likelihood)


@torch.no_grad()
def validation_error(pair: Pair, x: Tensor, y: Tensor) -> float | None:
    """The error [%] at the median of q; see `compression.scores` for what that is.

    Of a likelihood that is neither categorical nor Bernoulli the mean is judged as that of a
    normal; None where it has no mean.
    """
    median, net = pair.guide.median(x[:1]), pair.model.get_submodule("net")
    total = 0.0
    with evaluating(net):
        for part, truth in zip(chunks(x), chunks(y), strict=True):
            output = pair.model.output(part, median)
            likelihood, prediction = _predicted(pair.model, output)
            if prediction is None:
                return None
            error = score(prediction.double(), truth, likelihood, spread_of(y, likelihood))[1]
            total += error.sum().item()
    return total / len(x)


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
