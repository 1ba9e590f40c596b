"""The scale-mixture prior of Bayes by Backprop (Blundell et al. 2015)."""

from pyro.distributions import Distribution
from torch import Tensor, nn

from ..distributions.scale_mixture import ScaleMixture as ScaleMixtureDistribution
from .network import NetworkModel


class ScaleMixture(NetworkModel):
    """p(w) = pi N(0, sigma1^2) + (1 - pi) N(0, sigma2^2), independently for every latent weight.

    Proper, so the negative loss of any guide is (an estimate of) a lower bound on the log
    marginal likelihood, given the point parameters. The KL from a normal guide is a Monte-Carlo
    estimate; see `distributions.ScaleMixture`.

    :param pi: share of the wide component (default 0.25).
    :param sigma1: standard deviation of the wide component, in the weight's units (default 0.5).
    :param sigma2: of the narrow one (default 0.02).
    :raises ValueError: unless 0 < pi < 1 and 0 < sigma2 < sigma1.

    The other parameters are those of `NetworkModel`.
    """

    proper = True

    def __init__(
        self,
        net: nn.Module,
        num_data: int,
        pi: float = 0.25,
        sigma1: float = 0.5,
        sigma2: float = 0.02,
        **kwargs,
    ):
        ScaleMixtureDistribution(pi, sigma1, sigma2)  # raises now rather than in training
        super().__init__(net, num_data, **kwargs)
        self.pi, self.sigma1, self.sigma2 = pi, sigma1, sigma2

    def prior(self, name: str, weight: Tensor) -> Distribution:
        return ScaleMixtureDistribution(self.pi, self.sigma1, self.sigma2, weight.shape, weight)
