"""Whether predicted probabilities are those that come true."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro.infer import MCMC
from torch import Tensor, nn

from .draws import draws_of
from .traces import LABELS, evaluating, replayed


@dataclass(frozen=True)
class Calibration:
    """How a classifier's probabilities compare with its labels.

    :param confidence: mean probability of the predicted class in each bin, shape `(bins,)`; NaN
        where the bin is empty.
    :param accuracy: fraction of right predictions in each bin, shape `(bins,)`; NaN likewise.
    :param count: examples in each bin, int64, shape `(bins,)`.
    :param nll: -log p(y_n) of each example in nats, shape `(N,)`.
    :param brier: sum_c (p_nc - [y_n = c])^2 of each example, 0 to 2, shape `(N,)`.
    """

    confidence: Tensor
    accuracy: Tensor
    count: Tensor
    nll: Tensor
    brier: Tensor

    @property
    def ece(self) -> float:
        """Expected calibration error: mean |accuracy - confidence| over the examples, by bins.

        It depends on the bins, and is above 0 by chance even for a calibrated classifier.
        """
        gap = torch.nan_to_num((self.accuracy - self.confidence).abs())
        return ((self.count * gap).sum() / self.count.sum()).item()


def calibration(probabilities: Tensor, labels: Tensor, bins: int = 15) -> Calibration:
    """The reliability curve, Brier scores and log losses of a classifier's predictions.

    Bins are of equal width in the probability of the predicted class (Guo, Pleiss, Sun and
    Weinberger 2017, *On calibration of modern neural networks*).

    :param probabilities: shape `(N, classes)`, or `(N,)` for the probability of label 1. Of a
        guide: `predict`; of a plain network: `torch.softmax(net(x), -1)`.
    :param labels: shape `(N,)`.
    :raises ValueError: for probabilities outside [0, 1] or that do not sum to 1, but for the
        rounding of their dtype, and for other numbers of labels.
    """
    labels, probabilities = labels.cpu(), _normalised(probabilities.detach().cpu())
    if labels.shape != probabilities.shape[:1]:
        raise ValueError(
            f"labels of shape {tuple(labels.shape)} for {len(probabilities)} predictions"
        )
    labels = labels.long()
    confidence, predicted = probabilities.max(1)
    # Bin k is (k/bins, (k+1)/bins].
    index = (torch.ceil(confidence * bins).long() - 1).clamp(0, bins - 1)
    count = torch.bincount(index, minlength=bins)
    right = (predicted == labels).double()
    truth = torch.nn.functional.one_hot(labels, probabilities.shape[1])
    return Calibration(
        confidence=torch.bincount(index, confidence, minlength=bins) / count,
        accuracy=torch.bincount(index, right, minlength=bins) / count,
        count=count,
        nll=-probabilities.gather(1, labels[:, None])[:, 0].log(),
        brier=(probabilities - truth).square().sum(1),
    )


def _normalised(probabilities: Tensor) -> Tensor:
    """Probabilities of every class in float64, shape `(N, classes)`, each row divided by its sum.

    Rows of float16 and bfloat16 sum to 1 within a rounding for each class.
    """
    kind = probabilities.dtype
    eps = torch.finfo(kind).eps if kind.is_floating_point else 0.0
    probabilities = probabilities.double()
    if probabilities.dim() == 1:
        probabilities = torch.stack([1 - probabilities, probabilities], 1)
    total = probabilities.sum(1, keepdim=True)
    slack = min(0.5, max(1e-4, probabilities.shape[1] * eps))
    if (probabilities < -eps).any() or ((total - 1).abs() > slack).any():
        raise ValueError(
            f"probabilities, of {kind}, are not within 0 and 1 or do not sum to 1 over the "
            "classes; are they logits?"
        )
    return probabilities.clamp(min=0) / total


@dataclass(frozen=True)
class Change:
    """What became worse (above 0) from one classifier to another on the same examples.

    :param nll: change of the mean NLL in nats an example; `nll_stderr` its paired standard error.
    :param brier: change of the mean Brier score; `brier_stderr` likewise.
    :param ece: change of the expected calibration error.
    """

    nll: float
    nll_stderr: float
    brier: float
    brier_stderr: float
    ece: float


def change(before: Calibration, after: Calibration) -> Change:
    """Two classifiers compared example by example, such as a network before and after compression.

    :raises ValueError: for different numbers of examples.
    """
    if len(before.nll) != len(after.nll):
        raise ValueError(f"{len(before.nll)} examples before, {len(after.nll)} after")
    pairs = [after.nll - before.nll, after.brier - before.brier]
    figures = [f for gap in pairs for f in (gap.mean(), gap.std() / math.sqrt(len(gap)))]
    return Change(*(figure.item() for figure in figures), ece=after.ece - before.ece)


def predict(
    model: nn.Module,
    source: Callable | MCMC | Mapping[str, Tensor],
    x: Tensor,
    num_samples: int = 100,
    batch_size: int = 1000,
) -> Tensor:
    """Posterior predictive probabilities of the labels: the mean of p(y | x, w) over draws of w.

    :param model: a model with a categorical or Bernoulli likelihood.
    :param source: a guide, a finished `MCMC`, or draws by site; see `draw`.
    :param x: inputs, shape `(N, ...)`.
    :param num_samples: draws from a guide, each used for all examples.
    :returns: shape `(N, classes)`, or that of the labels for a Bernoulli likelihood.
    """
    return _average(model, source, x, num_samples, batch_size, lambda fn, part: fn.probs)


def calibrations(
    model: nn.Module,
    source: Callable | MCMC | Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    network: nn.Module | None = None,
) -> dict[str, Calibration]:
    """`calibration` before compression ("average over q") and after it ("compressed").

    :param model: a model with a categorical or Bernoulli likelihood.
    :param x: inputs that were not trained on, shape `(N, ...)`.
    :param y: their labels.
    :param network: the compressed network, whose outputs are logits; None: before only.
    """
    found = {"average over q": predict(model, source, x)}
    binary = found["average over q"].dim() == y.dim()
    if network is not None:
        with torch.no_grad():
            output = network(x)
        found["compressed"] = output.sigmoid() if binary else output.softmax(-1)
    if binary:
        y, found = y.flatten(), {name: values.flatten() for name, values in found.items()}
    return {name: calibration(values, y) for name, values in found.items()}


@torch.no_grad()
def has_probabilities(model: nn.Module, source, x: Tensor) -> bool:
    """Whether the likelihood is categorical or Bernoulli, so that `predict` applies, not `pit`."""
    values, _ = next(draws_of(source, x[:2], None, 1)[1])
    return hasattr(_labels(model, values, x[:2]), "probs")


def pit(
    model: nn.Module,
    source: Callable | MCMC | Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    num_samples: int = 100,
    batch_size: int = 1000,
) -> Tensor:
    """Probability integral transform of real labels: q(y' <= y_n | x_n) under the predictive.

    Uniform over held-out examples where the predictive distribution is right (Dawid 1984); heaped
    at 0 and 1 where it is too narrow, in the middle where too wide.

    :param y: labels, shape `(N, ...)`; held out, as those trained on are flattered.
    :returns: the labels' shape.
    """
    return _average(model, source, x, num_samples, batch_size, lambda fn, part: fn.cdf(y[part]))


def distance_to_uniform(values: Tensor) -> tuple[float, float]:
    """Kolmogorov and Smirnov's distance of PIT values to uniform ones, and its 5 % limit.

    :param values: any shape, taken as independent. The limit 1.358/sqrt(N) is asymptotic.
    """
    ordered = values.detach().double().cpu().flatten().sort().values
    count = len(ordered)
    steps = torch.arange(count + 1, dtype=torch.float64) / count
    distance = torch.maximum((steps[1:] - ordered).max(), (ordered - steps[:-1]).max())
    return distance.item(), 1.358 / math.sqrt(count)


@torch.no_grad()
def _average(model, source, x, num_samples: int, batch_size: int, of: Callable[[Any, slice], Any]):
    """Mean over draws of a function of p(y | x, w), the examples in batches."""
    total, count = torch.zeros(()), 0
    parts = [slice(i, i + batch_size) for i in range(0, len(x), batch_size)]
    with evaluating(model):
        for values, _ in draws_of(source, x[:batch_size], None, num_samples)[1]:
            found = [of(_labels(model, values, x[part]), part) for part in parts]
            total, count = total + torch.cat(found), count + 1
    return total / count


def _labels(model: nn.Module, values: Mapping[str, Tensor], x: Tensor):
    """p(y | x, w), for each label by itself."""
    fn = replayed(model, values, x, None).nodes[LABELS]["fn"]
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return fn
