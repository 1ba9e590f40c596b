"""Which labels fit which outputs, and on which axis the classes of an output lie."""

import torch
from torch import Tensor


def classes_last(output: Tensor, labels: torch.Size) -> Tensor:
    """Logits with their classes on the last axis.

    :param output: shape `(n, d1, ..., classes)`, or `(n, classes, d1, ...)` as torch's
        `cross_entropy` has them. Where labels fit both, the last axis is that of the classes.
    :param labels: the labels' shape, `(n, d1, ...)`.
    """
    last, first = output.shape[:-1], (*output.shape[:1], *output.shape[2:])
    if output.dim() > 2 and tuple(last) != tuple(labels) and first == tuple(labels):
        return output.movedim(1, -1)
    return output


def check_labels(y: Tensor, likelihood: str, output: Tensor, part: str = "training") -> None:
    """Refuse labels that a likelihood cannot mean.

    :param y: all labels, first axis the examples.
    :param likelihood: "categorical", "bernoulli" or "normal".
    :param output: the network's output for some of the examples.
    :raises ValueError: says what is wrong and what to do.
    """
    if likelihood == "categorical":
        _check_classes(y, output, part)
    elif y.shape[1:] != output.shape[1:]:
        raise ValueError(_shapes(y, output, output.shape[1:], part))
    elif y.is_complex():
        raise ValueError(f"{part} labels are {_dtype(y)}: give real numbers")
    elif likelihood == "bernoulli" and not ((y == 0) | (y == 1)).all():
        raise ValueError(
            f"{part} labels of likelihood 'bernoulli' must be 0 or 1; they span "
            f"{y.min().item():g}..{y.max().item():g}"
        )


def _check_classes(y: Tensor, output: Tensor, part: str) -> None:
    if output.dim() < 2:
        raise ValueError(
            "likelihood 'categorical' takes logits of shape (n, classes), but the network's "
            f"outputs have shape {tuple(output.shape)}; use 'bernoulli' for one logit"
        )
    if y.dim() == output.dim() and y.shape[1:] == output.shape[1:] and output.shape[-1] > 1:
        raise ValueError(
            f"{part} labels have the outputs' shape {tuple(y.shape)}, as one-hot labels have: "
            "likelihood 'categorical' takes the number of the class; give labels.argmax(-1)"
        )
    if y.is_floating_point() or y.is_complex():
        whole = not y.is_complex() and bool((y == y.round()).all())
        advice = "give labels.long()" if whole else "or use likelihood='normal' for regression"
        raise ValueError(
            f"{part} labels are {_dtype(y)}{'' if whole else ' and not whole'}: likelihood "
            f"'categorical' takes whole numbers of classes; {advice}"
        )
    logits = classes_last(output, torch.Size((len(output), *y.shape[1:])))
    if y.shape[1:] != logits.shape[1:-1]:
        raise ValueError(_shapes(y, output, logits.shape[1:-1], part))
    if not y.numel():
        return
    last = logits.shape[-1]
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= last:
        raise ValueError(
            f"{part} labels run from {low} to {high}, but the network has {last} outputs: "
            f"labels must lie in 0..{last - 1}; leave out examples without a class"
        )


def _shapes(y: Tensor, output: Tensor, wanted: torch.Size, part: str) -> str:
    return (
        f"{part} labels have shape {tuple(y.shape)}, but outputs of shape {tuple(output.shape)} "
        f"are about labels of shape {(len(y), *wanted)}: reshape one of the two"
    )


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
