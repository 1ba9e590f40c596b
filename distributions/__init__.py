"""Densities that Pyro lacks, each with its KL divergences registered at the foot of its file."""

from .log_uniform import LogUniform

__all__ = ["LogUniform"]
