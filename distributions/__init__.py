"""Densities that Pyro lacks, each with its KL divergences registered at the foot of its file."""

from .half_cauchy import Gamma, InverseGamma
from .hard_concrete import GatePrior, HardConcrete
from .log_uniform import LogUniform

__all__ = ["Gamma", "GatePrior", "HardConcrete", "InverseGamma", "LogUniform"]
