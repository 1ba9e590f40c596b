"""Values that may be looked at but not differentiated."""

import torch
from torch import Tensor


class _NoGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value: Tensor, why: str) -> Tensor:
        ctx.why = why
        return value.clone()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        raise NotImplementedError(ctx.why)


def no_gradient(value: Tensor, why: str) -> Tensor:
    """`value`, whose gradient raises NotImplementedError with the given message.

    For log densities that `TraceMeanField_ELBO` evaluates at every site but uses at none that has a
    closed-form KL, and that would be wrong to train on.
    """
    return _NoGradient.apply(value, why)
