"""The outputs of any network as one tensor."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Size, Tensor, nn


class OneOutput(nn.Module):
    """A network whose outputs are one tensor: those of several, flattened, one after the other.

    Axis 0 of the first output is the batch. The batch of each other output is the first axis of
    the same length: states of recurrent layers have theirs on axis 1.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        output = self.net(*args, **kwargs)
        if isinstance(output, Tensor):
            return output
        parts = list(_tensors(output))
        return torch.cat([_rows(part, parts[0].shape[:1]) for part in parts], 1)


def _rows(part: Tensor, batch: Size) -> Tensor:
    """One row for each example.

    :raises ValueError: no axis is as long as the batch.
    """
    if not batch or batch[0] not in part.shape:
        raise ValueError(
            f"the network gives an output of shape {tuple(part.shape)} beside one of "
            f"{tuple(batch)} examples: give every output an axis of examples, or leave it out"
        )
    return part.movedim(part.shape.index(batch[0]), 0).reshape(batch[0], -1)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        value = tuple(value.values())
    for part in value if isinstance(value, tuple | list) else ():
        yield from _tensors(part)
