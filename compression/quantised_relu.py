"""`QuantisedReLU`: a ReLU whose outputs are multiples of a step, for the layers behind it."""

import torch
from torch import Tensor, nn

from .option_limits import MAX_BITS


class QuantisedReLU(nn.Module):
    """step * clamp(round(x / step), 0, 2^bits - 1), elementwise; halves go to the even code.

    :param step: spacing, a bfloat16 number > 0; `range` is the largest value, (2^bits - 1) steps.
    :param bits: 1..16.
    :raises ValueError: for a step or bits that are not as they must be.
    """

    def __init__(self, step: float, bits: int) -> None:
        super().__init__()
        if not 1 <= bits <= MAX_BITS:
            raise ValueError(f"bits of activations must be within 1..{MAX_BITS}, not {bits}")
        if not 0 < step < float("inf"):
            raise ValueError(f"the step of activations must be positive and finite, not {step}")
        self.step, self.bits = step, bits

    def codes(self, x: Tensor) -> Tensor:
        """The integers, as floats of the shape of x."""
        return torch.clamp(torch.round(x / self.step), 0, 2**self.bits - 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.codes(x) * self.step

    def extra_repr(self) -> str:
        return f"step={self.step:g}, bits={self.bits}"
