"""Log densities of values that are fewer than a distribution's batch."""

import torch
from torch import Tensor
from torch.distributions import Distribution


def with_batch(log_prob: Tensor, distribution: Distribution) -> Tensor:
    """An elementwise log density, broadcast against the batch shape as Pyro expects it."""
    return log_prob.expand(torch.broadcast_shapes(log_prob.shape, distribution.batch_shape))
