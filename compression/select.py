"""`Select`: the layer that drops input features nobody reads, so that the next one is smaller."""

import torch
from torch import Tensor, nn


class Select(nn.Module):
    """Pick the given entries of the last dimension: `(..., n) -> (..., kept.sum())`.

    :param kept: which of the n entries to keep, bool, shape `(n,)`.
    """

    def __init__(self, kept: Tensor) -> None:
        super().__init__()
        if kept.dtype != torch.bool or kept.ndim != 1:
            raise ValueError(f"kept must be a 1-D bool tensor, not {kept.dtype} {kept.ndim}-D")
        self.register_buffer("kept", kept.clone())

    def forward(self, x: Tensor) -> Tensor:
        return x[..., self.kept]

    def extra_repr(self) -> str:
        return f"of={self.kept.numel()}"
