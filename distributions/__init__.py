"""Densities that Pyro lacks, each with its KL divergences registered at the foot of its file."""

from .gaussian_mixture import GaussianMixture
from .log_uniform import LogUniform
from .scale_mixture import ScaleMixture

__all__ = ["GaussianMixture", "LogUniform", "ScaleMixture"]
