"""The log-uniform prior of sparse variational dropout (Molchanov, Ashukha and Vetrov 2017)."""

from pyro.distributions import Distribution
from torch import Tensor, nn

from ..distributions.log_uniform import LogUniform as LogUniformDistribution
from .network import NetworkModel
from .prediction import or_point


class LogUniform(NetworkModel):
    """p(w) proportional to 1/|w|, independently for every latent weight.

    Improper: the objective is no bound on a marginal likelihood, it has an arbitrary constant
    for each weight, and it cannot be compared with that of a proper prior. Only guides with a
    closed-form KL train against it (`METHODS` lists them); the others get an error.

    :param kl: "exact" (default), or "molchanov" for the published approximation with its clip.

    The other parameters are those of `NetworkModel`.
    """

    proper = False

    def __init__(self, net: nn.Module, num_data: int, kl: str = "exact", **kwargs):
        super().__init__(net, num_data, **kwargs)
        self._kl = LogUniformDistribution((), kl=kl).kl

    def prior(self, name: str, weight: Tensor) -> Distribution:
        return or_point(LogUniformDistribution(weight.shape, kl=self._kl), weight)
