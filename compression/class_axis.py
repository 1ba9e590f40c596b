"""Which axis of a network's outputs holds the classes, if no labels say so."""

import torch
from torch import Tensor, nn

from ..common.examples import Inputs, tensors
from .one_output import OneOutput


def class_axis(output: Tensor, x: Inputs, labels: torch.Size | None) -> int:
    """The axis of the classes in logits: 1 or the last.

    :param output: shape (n, classes), (n, ..., classes) or (n, classes, ...).
    :param x: the inputs that it was computed from; their shapes decide where no labels do. Token
        by token and step by step (n, steps, ...) the last axis is that of the classes, pixel by
        pixel (n, channels, ...) axis 1 is.
    :param labels: the labels' shape, (n, ...), if there are any.
    """
    last, first = tuple(output.shape[1:-1]), tuple(output.shape[2:])
    if output.dim() < 3:
        return -1
    if labels is not None:
        return 1 if tuple(labels[1:]) == first != last else -1
    shapes = [tuple(tensor.shape[1:]) for tensor in tensors(x)]
    if any(shape[: len(last)] == last for shape in shapes):
        return -1
    return 1 if any(shape[1:] == first for shape in shapes) else -1


class ClassesLast(nn.Module):
    """A network with the classes of its outputs moved from one axis to the last."""

    def __init__(self, net: nn.Module, axis: int) -> None:
        super().__init__()
        self.net, self.axis = OneOutput(net), axis

    def forward(self, *args, **kwargs) -> Tensor:
        return self.net(*args, **kwargs).movedim(self.axis, -1)
