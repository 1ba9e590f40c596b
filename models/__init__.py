"""Priors over the weights of any network, one a file, as Pyro models `model(x, y=None)`."""

from .bayesian_bits import BayesianBits
from .gaussian import Gaussian
from .hard_concrete import HardConcrete
from .horseshoe import Horseshoe
from .laplace import Laplace
from .likelihoods import LIKELIHOODS
from .log_uniform import LogUniform
from .network import NetworkModel
from .normal_jeffreys import NormalJeffreys
from .rate import Rate
from .scale_mixture import ScaleMixture
from .soft_sharing import SoftSharing

__all__ = [
    "LIKELIHOODS",
    "BayesianBits",
    "Gaussian",
    "HardConcrete",
    "Horseshoe",
    "Laplace",
    "LogUniform",
    "NetworkModel",
    "NormalJeffreys",
    "Rate",
    "ScaleMixture",
    "SoftSharing",
]
