"""A price on neighbouring tensors' widths that differ: a Markov random field over layers."""

from collections.abc import Sequence

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from .handlers import ones_for_a_picture


class WidthCoupling(TorchDistribution):
    """exp(-price E|b - b'|) of the joint probabilities of two tensors' widths b and b'; no density.

    If p(b_1 .. b_L) = prod_l p(b_l) prod_pairs exp(-price |b - b'|) / Z is the prior, and the b_l
    are independent under q, then KL(q || p) is the sum of all KL(q(b_l) || p(b_l)), of
    price E_q|b - b'| over the pairs, and of log Z, which q does not change and nobody computes.
    A guide puts a point at its joint probabilities, whose KL is minus this log density.

    :param price: nats for each bit that the widths are apart, scalar.
    :param widths: bits of both tensors; the event shape is `(len(widths), len(widths))`.
    """

    arg_constraints = {}  # noqa: RUF012  (torch's own convention)
    support = constraints.independent(constraints.unit_interval, 2)

    def __init__(self, price: Tensor, widths: Sequence[int]):
        bits = torch.tensor(widths, dtype=price.dtype, device=price.device)
        self.prices = price * (bits[:, None] - bits).abs()
        super().__init__((), self.prices.shape, validate_args=False)

    def expand(self, batch_shape, _instance=None):
        if len(batch_shape):
            raise NotImplementedError("a price of one pair of tensors has no batch")
        return self

    def sample(self, sample_shape=torch.Size()):  # noqa: B008  (torch's own signature)
        why = "a price on widths cannot be sampled: use a guide that METHODS lists"
        return ones_for_a_picture(self._extended_shape(sample_shape), why)

    def log_prob(self, value: Tensor) -> Tensor:
        """-price E|b - b'|, nats."""
        return -(self.prices * value).sum((-2, -1))


def width_probabilities(reached: Tensor) -> Tensor:
    """Of each width, from `gate_chain.reached`; shape `(widths,)`."""
    ones = reached.new_ones(1)
    return torch.cat([ones, reached]) - torch.cat([reached, 0 * ones])
