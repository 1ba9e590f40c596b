"""Densities that Pyro lacks, each with its KL divergences registered at the foot of its file."""

from .gaussian_mixture import GaussianMixture
from .half_cauchy import Gamma, InverseGamma
from .hard_concrete import GatePrior, HardConcrete
from .log_uniform import LogUniform
from .row_normal import RowMultivariateNormal
from .scale_mixture import ScaleMixture

__all__ = [
    "Gamma",
    "GatePrior",
    "GaussianMixture",
    "HardConcrete",
    "InverseGamma",
    "LogUniform",
    "RowMultivariateNormal",
    "ScaleMixture",
]
