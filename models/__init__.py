"""Priors over the weights of any network, one a file, as Pyro models `model(x, y=None)`."""

from .gaussian import Gaussian
from .laplace import Laplace
from .likelihoods import LIKELIHOODS
from .log_uniform import LogUniform
from .network import NetworkModel

__all__ = ["LIKELIHOODS", "Gaussian", "Laplace", "LogUniform", "NetworkModel"]
