"""The outputs of any network as one tensor."""

from typing import Any

import torch
from torch import Size, Tensor, nn

from ..graph.examples import tensors_in


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
        parts = list(tensors_in(output))
        if not parts:
            raise ValueError(
                f"the network returns no tensors but a {type(output).__name__}: wrap it in a "
                "module that returns tensors"
            )
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
