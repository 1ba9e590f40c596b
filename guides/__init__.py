"""Families of approximate posteriors, one a file, each with `posterior()` for compression."""

from .elbo import ELBO
from .mean_field import MeanFieldNormal, PointMass

__all__ = ["ELBO", "MeanFieldNormal", "PointMass"]
