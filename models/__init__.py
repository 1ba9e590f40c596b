"""Priors over the weights of any network, one a file, as Pyro models `model(x, y=None)`.

Importing this package turns Pyro's `module_local_params` on: parameters belong to the model and
the guide that own them, so that two guides of one class never share them.
"""

import pyro

from .gaussian import Gaussian
from .likelihoods import LIKELIHOODS
from .log_uniform import LogUniform
from .network import NetworkModel

pyro.settings.set(module_local_params=True)

__all__ = ["LIKELIHOODS", "Gaussian", "LogUniform", "NetworkModel"]
