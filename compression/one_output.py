"""The outputs of any network as one tensor."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


class OneOutput(nn.Module):
    """A network whose outputs are one tensor: those of several, flattened, one after the other."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        output = self.net(*args, **kwargs)
        if isinstance(output, Tensor):
            return output
        return torch.cat([part.reshape(len(part), -1) for part in _tensors(output)], 1)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        value = tuple(value.values())
    for part in value if isinstance(value, tuple | list) else ():
        yield from _tensors(part)
