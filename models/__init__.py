"""Priors over the weights of any network, one a file, as Pyro models `model(x, y=None)`."""

from .gaussian import Gaussian
from .likelihoods import LIKELIHOODS
from .log_uniform import LogUniform
from .network import NetworkModel
from .scale_mixture import ScaleMixture
from .soft_sharing import SoftSharing

__all__ = ["LIKELIHOODS", "Gaussian", "LogUniform", "NetworkModel", "ScaleMixture", "SoftSharing"]
