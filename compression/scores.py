"""How well a network predicts, per example, and the paired rise between two networks.

The network's output is taken as the logits of categorical distributions (`(n, ..., classes)`, or
`(n, classes, ...)` as of torch's `cross_entropy`), the logits of Bernoullis (`(n, ...)`), or the
means of normal distributions with variance 1 (`(n, ...)`). The negative log likelihood (NLL)
[nats] of an example is the sum over its labels. Its error [%] is the share of its labels that are
predicted wrongly; for the normal it is the squared error as a share of the labels' mean square
about their mean.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..common.examples import Inputs, count, each, parts, passed, tensors
from ..common.labels import classes_last

LIKELIHOODS = ("categorical", "bernoulli", "normal")
CHUNK = 1024  # most examples evaluated at a time, so that memory does not grow with the data


@dataclass(frozen=True)
class Scores:
    """Per example, float64 of shape `(n,)` on the CPU: NLL [nats] and error [%]."""

    nll: Tensor
    error: Tensor

    def head(self, count: int) -> "Scores":
        """The first `count` examples."""
        return self.take(slice(count))

    def take(self, chosen: slice) -> "Scores":
        """The chosen examples."""
        return Scores(self.nll[chosen], self.error[chosen])

    def join(self, after: "Scores") -> "Scores":
        """These examples, then those of `after`."""
        return Scores(torch.cat([self.nll, after.nll]), torch.cat([self.error, after.error]))


@dataclass(frozen=True)
class Rise:
    """The mean of the per-example differences between two networks, and its standard error."""

    nll: float
    nll_stderr: float
    error: float
    error_stderr: float

    def within(self, margin_nll: float, margin_error: float) -> bool:
        """Whether both means are at most their margins [nats] and [percentage points]."""
        slack = 1e-12  # so that 0.1 is not more than 0.1
        return self.nll <= margin_nll + slack and self.error <= margin_error + slack


def check_data(x: Inputs, y: Tensor, likelihood: str, part: str = "validation") -> None:
    """Raise ValueError unless x and y are examples that `scores` can use."""
    if likelihood not in LIKELIHOODS:
        raise ValueError(f"unknown likelihood {likelihood!r}; known: {', '.join(LIKELIHOODS)}")
    inputs = count(x, part)
    if inputs != len(y) or inputs == 0:
        raise ValueError(f"{part} data: {inputs} inputs and {len(y)} labels; give one of each")
    _check_finite(x, part)
    if likelihood == "bernoulli" and not ((y == 0) | (y == 1)).all():
        raise ValueError("Bernoulli labels must be 0 or 1")
    if likelihood == "normal" and not y.isfinite().all():
        raise ValueError(f"{part} labels hold NaN or infinity")
    if likelihood == "categorical" and (y.is_floating_point() or y.is_complex()):
        raise ValueError(
            f"categorical labels must be integers of shape (n,), or (n, ...) for several labels an "
            f"example, not {y.dtype} {tuple(y.shape)}"
        )


def check_inputs(inputs: Inputs, like: Inputs) -> None:
    """Raise ValueError unless training inputs are of the kind of the validation inputs `like`."""
    if not tensors(inputs) or not count(inputs) or _kind(inputs) != _kind(like):
        raise ValueError(
            f"training inputs are {described(inputs)}, validation inputs {described(like)}: "
            "both must be examples of the same kind"
        )
    _check_finite(inputs, "training")


def _check_finite(x: Inputs, part: str) -> None:
    for tensor in tensors(x):
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{part} inputs hold NaN or infinity")


def _kind(x: Inputs) -> Any:
    """What two examples have in common: nesting, shapes and dtypes."""
    return each(x, lambda tensor: (tensor.dtype, tuple(tensor.shape[1:])))


def described(x: Any) -> str:
    """Nested inputs by their dtypes and shapes."""
    if isinstance(x, Tensor):
        return f"{x.dtype} {tuple(x.shape)}"
    if isinstance(x, dict):
        return "{" + ", ".join(f"{k!r}: {described(v)}" for k, v in x.items()) + "}"
    if isinstance(x, tuple | list):
        return f"({', '.join(map(described, x))})"
    return repr(x)


def spread_of(y: Tensor, likelihood: str) -> float:
    """The labels' mean square about their mean, the scale of normal errors; 1 for others."""
    if likelihood != "normal":
        return 1.0
    return float((y.double() - y.double().mean(0)).square().mean()) or 1.0


def least_rise(y: Tensor, likelihood: str) -> float:
    """The rise in error [points] of one wrong label more; 0 for normal labels, which have none.

    The paired standard error of such a rise is the rise itself, but for a factor sqrt(1 - 1/n).
    """
    return 0.0 if likelihood == "normal" else 100.0 / y.numel()


def chunks(x: Inputs, size: int | None = None) -> list[Inputs]:
    """Parts of nearly equal length, at most `size` (`CHUNK`): no single example is left over."""
    return parts(x, max(1, math.ceil(count(x) / (size or CHUNK))))


@torch.no_grad()
def scores(
    net: nn.Module,
    x: Inputs,
    y: Tensor,
    likelihood: str = "categorical",
    spread: float | None = None,
    size: int | None = None,
) -> Scores:
    """The scores of a network in eval mode on inputs x and labels y.

    :param x: as `common.examples.arguments` gives them, one tensor or several.
    :param spread: `spread_of` the labels that y is a part of; that of y by default.
    :param size: most examples evaluated at a time; `CHUNK` by default.
    :raises ValueError: labels out of range, or of another shape than the outputs.
    """
    spread = spread_of(y, likelihood) if spread is None else spread
    empty = torch.zeros(0, dtype=torch.float64)
    found = [(empty, empty)]
    for chunk, labels in zip(chunks(x, size), chunks(y, size), strict=True):
        if len(labels):
            output = passed(net, chunk).double()
            found.append(score(output, labels.to(output.device), likelihood, spread))
    nll, error = (torch.cat(column).cpu() for column in zip(*found, strict=True))
    return Scores(nll, error)


def score(output: Tensor, y: Tensor, likelihood: str, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    """NLL and error of each example, from the network's outputs; the NLL is differentiable."""
    if likelihood == "categorical":
        return _categorical(output, y)
    if output.numel() != y.numel():
        raise ValueError(f"labels {tuple(y.shape)} do not fit outputs {tuple(output.shape)}")
    output, y = output.reshape(len(y), -1), y.reshape(len(y), -1).double()
    if likelihood == "bernoulli":
        nll = functional.binary_cross_entropy_with_logits(output, y, reduction="none")
        return nll.sum(1), 100.0 * ((output > 0) != (y > 0.5)).double().mean(1)
    square = (output - y).square()
    nll = 0.5 * square + 0.5 * math.log(2 * math.pi)
    return nll.sum(1), 100.0 * square.mean(1) / spread


def _categorical(output: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """NLL and error of each example from logits (see `classes_last`) and labels `(n, ...)`."""
    output = classes_last(output, y.shape)
    if output.ndim < 2 or output.shape[:-1] != y.shape:
        raise ValueError(
            f"the network must give logits (n, classes), or (n, ..., classes) for labels (n, ...): "
            f"for {len(y)} example{'s' * (len(y) != 1)} it gives {tuple(output.shape)}, and the "
            f"labels are {tuple(y.shape)}"
        )
    classes = output.shape[-1]
    if int(y.min()) < 0 or int(y.max()) >= classes:
        raise ValueError(
            f"labels span {int(y.min())}..{int(y.max())}, but the network has {classes} "
            f"outputs: they must be within 0..{classes - 1}"
        )
    flat = output.reshape(-1, classes)
    nll = functional.cross_entropy(flat, y.reshape(-1).long(), reduction="none")
    wrong = 100.0 * (output.argmax(-1) != y).double()
    return nll.reshape(len(y), -1).sum(1), wrong.reshape(len(y), -1).mean(1)


def rise(after: Scores, before: Scores) -> Rise:
    """The paired rise from one network's scores to another's on the same examples.

    Non-finite scores of `after` give an infinite rise, which is within no margin.
    """
    result = []
    for a, b in ((after.nll, before.nll), (after.error, before.error)):
        difference = a - b
        if not difference.isfinite().all():
            result += [math.inf, math.inf]
            continue
        n = len(difference)
        stderr = float(difference.std()) / math.sqrt(n) if n > 1 else math.inf
        result += [float(difference.mean()), stderr]
    return Rise(*result)
