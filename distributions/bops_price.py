"""A price on the bit operations of a whole network: a Gibbs distribution over its gates' states."""

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from .handlers import ones_for_a_picture

INPUT_BITS = 8  # of the network's own inputs
FLOAT_BITS = 32  # of inputs that are not quantised, and of the network compared with


class BopsPrice(TorchDistribution):
    """exp(-price E[BOPs]) of the expected BOPs of a network, a share of those at 32 bits.

    If p(z) = p0(z) exp(-price BOPs(z)) / Z is the prior of all gates, then KL(q || p) is
    KL(q || p0), price E_q[BOPs], and log Z, which q does not change and nobody computes. A guide
    puts a point at E_q[BOPs], whose KL is minus this log density; no density by itself.

    :param price: nats of all BOPs of the network at 32 bits, scalar.
    """

    arg_constraints = {}  # noqa: RUF012  (torch's own convention)
    support = constraints.real

    def __init__(self, price: Tensor):
        self.price = price
        super().__init__((), (), validate_args=False)

    def expand(self, batch_shape, _instance=None):
        if len(batch_shape):
            raise NotImplementedError("a price of one network has no batch")
        return self

    def sample(self, sample_shape=torch.Size()):  # noqa: B008  (torch's own signature)
        why = "a price cannot be sampled: use a guide that METHODS lists"
        return ones_for_a_picture(self._extended_shape(sample_shape), why)

    def log_prob(self, value: Tensor) -> Tensor:
        """-price E[BOPs], nats."""
        return -self.price * value
