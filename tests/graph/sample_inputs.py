"""What the samples of operators are made of."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Sample = tuple[dict[str, Any], list[Callable]]


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


V, M, IMAGE = randn(3, 6), randn(3, 5, 6), randn(3, 4, 6, 6)
SIGNAL, VOLUME = randn(3, 4, 8), randn(3, 2, 4, 4, 4)
WHOLE = torch.arange(18).reshape(3, 6) % 5
FLAGS = V > 0
POSITIVE, SMALL = V.abs() + 0.5, V.tanh() * 0.9
PAIR = randn(3, 6) + 0.1
