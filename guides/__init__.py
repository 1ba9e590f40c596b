"""Families of approximate posteriors, one a file, each with `posterior()` for compression."""

from .base import NetworkGuide
from .elbo import ELBO
from .mean_field import MeanFieldNormal, PointMass
from .posterior_of import posterior_of
from .soft_sharing import SharedPoints

__all__ = ["ELBO", "MeanFieldNormal", "NetworkGuide", "PointMass", "SharedPoints", "posterior_of"]
